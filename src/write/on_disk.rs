//! What stands in the outputs folder: which outputs there are, and what one of them is by its text alone.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::target::{OutputsError, file_name, id_of, unusable};
use crate::model::text::one_line;
use crate::model::{Class, ContentHash, ContentId, Key, STANDIN_MARK};
use crate::regular;

/// How the output of a failed prompt starts.
const ERROR: &str = "ERROR: ";
/// How much of an output tells what it is, unless it starts as a failure does. The stand-in's mark is shorter.
const START: u64 = 64;
/// No failure's line is longer: what a server says is cut far below it.
const LONGEST_LINE: u64 = 64 * 1024;

/// What stands at the places of outputs, by prompt.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The lengths of the outputs that hold something.
    pub outputs: HashMap<Key, u64>,
    /// What keeps an output from its place.
    pub blocked: HashMap<Key, &'static str>,
}

/// Lists the outputs on disk; none where there is no folder.
pub fn list(folder: &Path) -> Result<Listed, OutputsError> {
    let unusable = unusable(folder);
    let mut listed = Listed::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
        Err(error) => return Err(unusable(error)),
    };
    for entry in entries {
        let entry = entry.map_err(&unusable)?;
        if let Some(id) = entry.file_name().to_str().and_then(id_of) {
            match occupant(&entry.path()) {
                Ok(bytes @ 1..) => drop(listed.outputs.insert(id, bytes)),
                Ok(0) => {}
                Err(what) => drop(listed.blocked.insert(id, what)),
            }
        }
    }
    Ok(listed)
}

/// The length of the file at `path`, 0 for none, or what stands there instead of one. A link counts as what it leads to; one that leads nowhere is
/// replaced by an output.
pub(super) fn occupant(path: &Path) -> Result<u64, &'static str> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(metadata) => Err(regular::kind(metadata.file_type())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(_) => Err("unreadable"),
    }
}

/// What an output is by its text alone. It is asked only where the journal does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An answer, as far as anybody can tell.
    Answer,
    /// An answer of the stand-in: no model was asked.
    Standin,
    /// The line of a prompt that failed for good.
    Failure,
}

impl Form {
    /// Of the text of an output. A model's text may begin like our line: only one that is it to the last byte, with a class that we know, counts.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let line = text.strip_prefix(ERROR.as_bytes()).and_then(|rest| rest.strip_suffix(b"\n"));
        let line = line.and_then(|line| str::from_utf8(line).ok()).filter(|line| !line.contains('\n'));
        let class = line.and_then(|line| line.split_once(": ")).map(|(class, _)| class);
        if class.and_then(Class::from_word).is_some() {
            Self::Failure
        } else if text.starts_with(STANDIN_MARK.as_bytes()) {
            Self::Standin
        } else {
            Self::Answer
        }
    }
}

/// The one line of a failed prompt.
#[must_use]
pub fn failure_line(class: Class, message: &str) -> String {
    format!("{ERROR}{class}: {}\n", one_line(message))
}

/// What the output of a prompt is by its text. Most of a long one is not read.
pub fn form(folder: &Path, key: &Key) -> io::Result<Form> {
    let mut file = File::open(folder.join(file_name(key)))?;
    let mut text = Vec::new();
    file.by_ref().take(START).read_to_end(&mut text)?;
    if text.starts_with(ERROR.as_bytes()) {
        file.take(LONGEST_LINE).read_to_end(&mut text)?;
    }
    Ok(Form::of(&text))
}

/// The content of a prompt's output, read to its end.
pub fn content(folder: &Path, key: &Key) -> io::Result<ContentId> {
    let mut file = File::open(folder.join(file_name(key)))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_our_own_line_is_a_failure() {
        for text in [
            "ERROR: the quick brown fox",
            "ERROR: rain: it pours\n",
            "ERROR: timeout: no end of line",
            "ERROR: timeout: one\nERROR: timeout: two\n",
            "ERROR: timeout\n",
            " ERROR: timeout: it took long\n",
            "",
        ] {
            assert_eq!(Form::of(text.as_bytes()), Form::Answer, "{text:?}");
        }
        assert_eq!(Form::of(b"ERROR: timeout: \xff\n"), Form::Answer);
        assert_eq!(Form::of(b"ERROR: timeout: it took long\n"), Form::Failure);
    }

    #[test]
    fn a_form_is_read_from_the_file_and_a_content_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |id: u64, text: &str| {
            fs::write(folder.path().join(file_name(&Key::from(id))), text).expect("written");
        };
        let long = "x".repeat(200_000);
        write(1, &failure_line(Class::Timeout, &long[..5_000]));
        write(2, &format!("ERROR: timeout: {long}\n"));
        write(3, &long);
        write(4, "");
        write(6, &crate::standin::answer_of_length("gpt-4o-mini", "Hello", Some(1_000)));
        write(7, &format!("{long}{STANDIN_MARK}"));
        let forms = [1, 2, 3, 4, 6, 7].map(|id| form(folder.path(), &Key::from(id)).expect("read"));
        let others = [Form::Answer, Form::Answer, Form::Answer, Form::Standin, Form::Answer];
        assert!(forms[0] == Form::Failure && forms[1..] == others, "{forms:?}");
        assert_eq!(content(folder.path(), &Key::from(3)).expect("read"), ContentId::of(long.as_bytes()));
        assert!(form(folder.path(), &Key::from(5)).is_err() && content(folder.path(), &Key::from(5)).is_err());
        let listed = list(folder.path()).expect("listed");
        assert_eq!((listed.outputs.len(), listed.outputs[&Key::from(3)]), (5, 200_000));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_blocks_its_place() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let path = |id: u64| folder.path().join(file_name(&Key::from(id)));
        fs::create_dir(path(1)).expect("made");
        symlink(path(1), path(2)).expect("linked");
        symlink("/dev/null", path(3)).expect("linked");
        symlink("nowhere", path(4)).expect("linked");
        symlink(path(5), path(5)).expect("linked");
        fs::write(path(6), "text").expect("written");
        symlink(path(6), path(7)).expect("linked");
        let listed = list(folder.path()).expect("listed");
        assert_eq!(listed.outputs, HashMap::from([(Key::from(6), 4), (Key::from(7), 4)]));
        let blocked = [(1, "a folder"), (2, "a folder"), (3, "a device"), (5, "unreadable")];
        assert_eq!(listed.blocked, blocked.into_iter().map(|(id, what)| (Key::from(id), what)).collect());
        assert_eq!(list(&folder.path().join("no")).expect("none"), Listed::default());
    }

    proptest! {
        #[test]
        fn every_line_that_we_write_is_known_again(which in 0..Class::ALL.len(), message in "(?s).{0,200}") {
            prop_assert_eq!(Form::of(failure_line(Class::ALL[which].0, &message).as_bytes()), Form::Failure);
        }
    }
}
