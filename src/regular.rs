//! Reads a person's files: regular ones, up to a size. What stands in such a file's place may be a FIFO, whose reader waits for ever, or a device that
//! has no end.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why a file is not read; its path is named by the error around it.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Something else has its name.
    #[error("it is {0}, not a regular file")]
    Irregular(&'static str),
    /// It is too long.
    #[error("it is larger than {}, the most that is read", size(*.most))]
    TooLarge {
        /// The most bytes.
        most: u64,
    },
    /// The system does not let us.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Unread {
    /// Whether nothing has its name.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::System(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// What to do about a text file that is not read.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Irregular(_) => "put a text file in its place, or take it away",
            Self::TooLarge { .. } => "shorten it, or take it away",
            Self::System(_) => "correct the name or the file's permissions",
        }
    }
}

/// The bytes of the regular file at `path`, or at the end of the links there; at most `most` of them. It never waits for a writer.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    let (file, metadata) = open(path)?;
    if metadata.len() > most {
        return Err(Unread::TooLarge { most });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // A file may grow while it is read, and those of /proc have no length.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Unread::TooLarge { most }) } else { Ok(bytes) }
}

/// The regular file at `path`, or at the end of the links there, opened for reading.
pub fn open(path: &Path) -> Result<(File, Metadata), Unread> {
    // Asked before it is opened, because opening alone moves a tape or starts a watchdog; and after it, because it may have changed in between.
    regular(&fs::metadata(path)?)?;
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    Ok((file, metadata))
}

fn regular(metadata: &Metadata) -> Result<(), Unread> {
    if metadata.is_file() { Ok(()) } else { Err(Unread::Irregular(kind(metadata.file_type()))) }
}

/// What something is that is no regular file; a link only where it is not followed.
#[must_use]
pub fn kind(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return "a FIFO";
        } else if kind.is_socket() {
            return "a socket";
        } else if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    match (kind.is_dir(), kind.is_symlink()) {
        (true, _) => "a folder",
        (_, true) => "a link",
        _ => "something else",
    }
}

/// Where `path` leads, if that is no place in `folder`; `None` also where it leads nowhere.
#[must_use]
pub fn outside(folder: &Path, path: &Path) -> Option<PathBuf> {
    let (folder, target) = (fs::canonicalize(folder).ok()?, fs::canonicalize(path).ok()?);
    (!target.starts_with(folder)).then_some(target)
}

/// `64 kB`, `256 MB`.
fn size(bytes: u64) -> String {
    const MB: u64 = 1_000_000;
    if bytes.is_multiple_of(MB) { format!("{} MB", bytes / MB) } else { format!("{} kB", bytes / 1_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        assert!(read(&path, 10).expect_err("nothing is there").is_missing());
        fs::write(&path, "12345").expect("written");
        assert_eq!(read(&path, 5).expect("read"), b"12345");
        let error = read(&path, 4).expect_err("too long");
        assert!(matches!(error, Unread::TooLarge { most: 4 }));
        let sizes = [64_000, 1_000_000, 256_000_000].map(|most| Unread::TooLarge { most }.to_string());
        assert!(
            sizes[0].contains("than 64 kB,") && sizes[1].contains("than 1 MB,") && sizes[2].contains("than 256 MB,")
        );
        let error = read(folder.path(), 5).expect_err("a folder");
        assert_eq!(error.to_string(), "it is a folder, not a regular file");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_is_what_it_leads_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = |to: &str| {
            let path = folder.path().join(to.replace('/', "_"));
            std::os::unix::fs::symlink(to, &path).expect("a link");
            path
        };
        fs::write(folder.path().join("a"), "text").expect("written");
        let to_a = folder.path().join("to_a");
        std::os::unix::fs::symlink("a", &to_a).expect("a link");
        assert_eq!(read(&to_a, 10).expect("read"), b"text");
        assert_eq!(
            read(&link("/dev/zero"), 10).expect_err("a device").to_string(),
            "it is a device, not a regular file"
        );
        assert!(read(&link("no/where"), 10).expect_err("it leads nowhere").is_missing());
        // It has no length, and is longer than that.
        assert!(matches!(read(Path::new("/proc/self/status"), 10), Err(Unread::TooLarge { .. })));
    }
}
