//! Asks whether a secret may go to a server that a file names, and keeps the answer in the user's own configuration.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::atomic::{make_private_folder, replace_private};
use crate::config::Environment;
use crate::config::consent::{Question, is_kept, with};
use crate::mill;
use crate::regular::{self, Unread};
use crate::report::terminal::tell;

/// The most bytes of the file of consents.
const MOST: u64 = 1_000_000;

/// Why the file of consents cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// It cannot be read.
    #[error("cannot read your consents in `{}`: {source}; {}", path.display(), source.advice())]
    Read { path: PathBuf, source: Unread },
    /// It is not as it was written.
    #[error("your consents in `{}` are not valid TOML: fix the file or delete it", .0.display())]
    Damaged(PathBuf),
}

/// Where consents are kept, and for which folder.
struct Place {
    file: PathBuf,
    folder: String,
}

impl Place {
    /// `None` where there is no configuration of the user, or a folder whose name is not text: consents cannot be kept then.
    fn find(environment: &Environment) -> Option<Self> {
        let file = environment.config_home()?.join("promptmill").join("consent.toml");
        Some(Self { file, folder: fs::canonicalize(".").ok()?.into_os_string().into_string().ok()? })
    }

    fn text(&self) -> Result<String, ConsentError> {
        let read = |source| ConsentError::Read { path: self.file.clone(), source };
        match regular::read(&self.file, MOST) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| ConsentError::Damaged(self.file.clone())),
            Err(unread) if unread.is_missing() => Ok(String::new()),
            Err(unread) => Err(read(unread)),
        }
    }

    /// Writes one more consent. Dies here: all of the consents before it are kept.
    fn keep(&self, server: &str) -> Result<(), String> {
        let text = self.text().map_err(|error| error.to_string())?;
        let text = with(&text, &self.folder, server).map_err(|error| error.message().to_owned())?;
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let write = || {
            make_private_folder(folder)?;
            if fs::symlink_metadata(folder)?.is_symlink() {
                return Err(io::Error::other(format!("`{}` is a link", folder.display())));
            }
            replace_private(&self.file, text.as_bytes())
        };
        write().map_err(|error| error.to_string())
    }
}

/// Whether the user has said yes to `question` in this folder before.
pub(super) fn is_given(question: &Question, environment: &Environment) -> Result<bool, ConsentError> {
    let Some(place) = Place::find(environment) else { return Ok(false) };
    is_kept(&place.text()?, &place.folder, &question.server).map_err(|_| ConsentError::Damaged(place.file))
}

/// Makes sure of the user's consent: an earlier one, or a yes on a terminal.
pub(super) fn obtain(question: &Question, environment: &Environment) -> Result<(), Failure> {
    if is_given(question, environment)? {
        return Ok(());
    }
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !can_ask || !is_yes(question) {
        return Err(mill::Failure::NoConsent(Box::new(question.clone())).into());
    }
    let kept = Place::find(environment).ok_or_else(|| "there is no HOME".to_owned());
    match kept.and_then(|place| place.keep(&question.server).map(|()| place)) {
        Ok(place) => tell(&format!("kept in `{}`", place.file.display())),
        Err(why) => tell(&format!("warning: your consent cannot be kept, and is asked for again: {why}")),
    }
    Ok(())
}

fn is_yes(question: &Question) -> bool {
    tell(&format!("{question}."));
    let mut stderr = io::stderr().lock();
    // Where it cannot be asked, the answer is no.
    let asked = write!(stderr, "Send it there? [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let heard = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    heard.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
