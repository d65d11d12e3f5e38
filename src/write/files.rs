//! A folder of files, one for each output: `7_output.txt`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::unusable;
use super::hold::Hold;
use super::name::file_name;
use super::{OutputsError, Sink, WriteError};
use crate::model::{Content, ContentHash, ContentId, ERROR, Form, Key, Put};
use crate::plan::Outputs;
use crate::{atomic, regular};

/// How much of an output tells what it is, unless it starts as a failure does. The stand-in's mark is shorter.
const START: u64 = 64;
/// No failure's line is longer: what a server says is cut far below it.
const LONGEST_LINE: u64 = 64 * 1024;

/// The outputs folder.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// Keeps other runs out until the last thread that writes here has ended.
    _hold: Option<Hold>,
}

impl Files {
    /// Makes the folder where there is none, and keeps other runs out until this is dropped. Leftovers of a killed run are removed; `says` is how
    /// this run is named to a second one.
    pub fn hold(folder: &Path, says: &str) -> Result<Self, OutputsError> {
        let hold = Hold::take(folder, says)?;
        Ok(Self { folder: folder.to_owned(), _hold: Some(hold) })
    }

    /// The folder as it stands, which need not be there. Nothing is to be put into it.
    pub fn to_read(folder: &Path) -> Result<Self, OutputsError> {
        match fs::read_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(folder)(error)),
            _ => Ok(Self { folder: folder.to_owned(), _hold: None }),
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(file_name(key))
    }
}

impl Outputs for Files {
    fn stands(&self, key: &Key) -> Result<u64, String> {
        occupant(&self.path(key)).map_err(|what| WriteError::blocked(&self.folder, key, what).to_string())
    }

    fn form(&self, key: &Key) -> io::Result<Form> {
        let mut file = File::open(self.path(key))?;
        let mut text = Vec::new();
        file.by_ref().take(START).read_to_end(&mut text)?;
        if text.starts_with(ERROR.as_bytes()) {
            file.take(LONGEST_LINE).read_to_end(&mut text)?;
        }
        Ok(Form::of(&text))
    }

    fn content(&self, key: &Key) -> io::Result<ContentId> {
        let mut file = File::open(self.path(key))?;
        let (mut content, mut piece) = (ContentHash::default(), vec![0; 64 * 1024]);
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(content.id()),
                Ok(read) => content.add(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Sink for Files {
    /// An answer is moved aside to `N_output.previous.txt`.
    fn put(&self, key: &Key, content: &Content, answered: bool) -> Result<Put, WriteError> {
        let path = self.path(key);
        let failed = |source| WriteError::output(&self.folder, key, source);
        let stands = occupant(&path).map_err(|what| WriteError::blocked(&self.folder, key, what))?;
        // What cannot be read is kept.
        let is_answer = || answered || self.form(key).unwrap_or(Form::Answer) != Form::Failure;
        if matches!(content, Content::Error { .. }) && stands > 0 && is_answer() {
            let previous = self.folder.join(format!("{key}_output.previous.txt"));
            if let Err(what) = occupant(&previous) {
                return Err(WriteError::Blocked { path: previous, what });
            }
            fs::rename(&path, previous).map_err(failed)?;
        }
        let bytes = content.bytes();
        atomic::replace(&path, &bytes).map_err(failed)?;
        Ok(Put { offset: 0, content: ContentId::of(&bytes) })
    }

    fn flush(&self) -> Result<(), WriteError> {
        atomic::sync_folder(&self.folder).map_err(|source| WriteError::flush(&self.folder, source))
    }

    fn text(&self, key: &Key) -> io::Result<String> {
        fs::read_to_string(self.path(key))
    }
}

/// The length of the file at `path`, 0 for none, or what stands there instead of one. A link counts as what it leads to; one that leads nowhere is
/// replaced by an output.
fn occupant(path: &Path) -> Result<u64, &'static str> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(metadata) => Err(regular::kind(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(_) => Err("unreadable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Class, STANDIN_MARK};

    fn folder() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::to_read(folder.path()).expect("a folder");
        (folder, files)
    }

    fn error() -> Content {
        Content::Error { class: Class::TooLarge, message: "shorten it".to_owned() }
    }

    fn answer(text: &str) -> Content {
        Content::Answer(text.to_owned())
    }

    #[test]
    fn an_answer_is_put_byte_for_byte_and_a_failure_in_one_line() {
        let (folder, files) = folder();
        let text = "größe\n\n  no newline at the end";
        let put = files.put(&Key::from(7), &answer(text), false).expect("put");
        assert_eq!(put, Put { offset: 0, content: ContentId::of(text.as_bytes()) });
        assert_eq!(fs::read_to_string(folder.path().join("7_output.txt")).expect("read"), text);
        assert_eq!(files.text(&Key::from(7)).expect("read"), text);
        assert!(files.holds(&Key::from(7), &put) && !files.holds(&Key::from(8), &put));
        files.put(&Key::from(7), &error(), false).expect("put");
        assert!(!files.holds(&Key::from(7), &put));
        assert_eq!(
            fs::read_to_string(folder.path().join("7_output.txt")).expect("read"),
            "ERROR: too_large: shorten it\n"
        );
    }

    #[test]
    fn a_failure_never_replaces_an_answer() {
        let (folder, files) = folder();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("there");
        let line = "ERROR: too_large: shorten it\n";
        // The third is an answer because the journal says so.
        for (text, answered) in [("paid for", false), ("ERROR: paid for", false), (line, true)] {
            files.put(&Key::from(1), &answer(text), false).expect("put");
            files.put(&Key::from(1), &error(), answered).expect("put");
            files.put(&Key::from(1), &error(), false).expect("put");
            assert_eq!((read("1_output.previous.txt").as_str(), read("1_output.txt").as_str()), (text, line));
        }
    }

    #[test]
    fn a_form_is_read_from_the_file_and_a_content_to_its_end() {
        let (folder, files) = folder();
        let write = |id: u64, text: &str| fs::write(files.path(&Key::from(id)), text).expect("written");
        let long = "x".repeat(200_000);
        write(1, &format!("ERROR: timeout: {}\n", &long[..5_000]));
        write(2, &format!("ERROR: timeout: {long}\n"));
        write(3, &long);
        write(4, "");
        write(6, &crate::standin::answer_of_length("gpt-4o-mini", "Hello", Some(1_000)));
        write(7, &format!("{long}{STANDIN_MARK}"));
        let forms = [1, 2, 3, 4, 6, 7].map(|id| files.form(&Key::from(id)).expect("read"));
        let others = [Form::Answer, Form::Answer, Form::Answer, Form::Standin, Form::Answer];
        assert!(forms[0] == Form::Failure && forms[1..] == others, "{forms:?}");
        assert_eq!(files.content(&Key::from(3)).expect("read"), ContentId::of(long.as_bytes()));
        assert!(files.form(&Key::from(5)).is_err() && files.content(&Key::from(5)).is_err());
        let stands = [3, 4, 5].map(|id| files.stands(&Key::from(id)));
        assert_eq!(stands, [Ok(200_000), Ok(0), Ok(0)]);
        drop(folder);
        assert_eq!(files.stands(&Key::from(3)), Ok(0));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_blocks_its_place() {
        use std::os::unix::fs::symlink;
        let (folder, files) = folder();
        let path = |id: u64| files.path(&Key::from(id));
        fs::create_dir(path(1)).expect("made");
        symlink(path(1), path(2)).expect("linked");
        symlink("/dev/null", path(3)).expect("linked");
        symlink("nowhere", path(4)).expect("linked");
        symlink(path(5), path(5)).expect("linked");
        fs::write(path(6), "text").expect("written");
        symlink(path(6), path(7)).expect("linked");
        for (id, what) in [(1, "a folder"), (2, "a folder"), (3, "a device"), (5, "unreadable")] {
            let why = files.stands(&Key::from(id)).expect_err("it is blocked");
            assert!(why.contains(&format!("{id}_output.txt is {what}, not a file")), "{why}");
            assert!(files.put(&Key::from(id), &answer("x"), false).expect_err("it is blocked").is_alone());
        }
        assert_eq!([4, 6, 7].map(|id| files.stands(&Key::from(id))), [Ok(0), Ok(4), Ok(4)]);
        let file = Files::to_read(&folder.path().join("6_output.txt")).expect_err("no folder").to_string();
        assert!(file.contains("is a file, not a folder"), "{file}");
    }
}
