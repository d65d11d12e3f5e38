//! What a process does to files, sockets and pipes, in order, as `strace` tells it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::common::Ended;

const CALLS: &str = "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,ftruncate,truncate,fallocate,\
                     copy_file_range,sendfile,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync";

/// One thing that a process does. A flush is two: what it covers is known when it begins, and it holds when it has ended.
#[derive(Debug)]
pub(crate) enum Call {
    Opened {
        path: PathBuf,
        made: bool,
        emptied: bool,
    },
    Wrote {
        path: PathBuf,
        at: Option<usize>,
        bytes: Vec<u8>,
    },
    Cut {
        path: PathBuf,
        length: usize,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        path: PathBuf,
    },
    Flushes {
        path: PathBuf,
        thread: u32,
    },
    Flushed {
        thread: u32,
    },
    /// To a socket or a pipe: from here on others may know it.
    Sends {
        bytes: Vec<u8>,
    },
}

/// Why nothing can be traced here; `None` where it can.
pub(crate) fn missing() -> Option<String> {
    let tried = Command::new("strace").args(["-f", "-y", "-o", "/dev/null", "true"]).stdin(Stdio::null()).output();
    match tried {
        Err(error) => Some(format!("strace cannot be started: {error}")),
        Ok(output) if !output.status.success() => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Ok(_) => None,
    }
}

/// Runs `command` to its end; what it did is told in the order in which it was done.
pub(crate) fn run(command: &Command, log: &Path) -> (Ended, Vec<Call>) {
    let folder = command.get_current_dir().expect("a folder").canonicalize().expect("there");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-y", "-xx", "-s", "1000000", "-e", &format!("trace={CALLS}"), "-o"]).arg(log);
    traced.arg(command.get_program()).args(command.get_args()).current_dir(&folder).env_clear();
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    traced.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Ended::run(&mut traced);
    (ended, calls(&std::fs::read_to_string(log).expect("the trace"), &folder))
}

fn calls(log: &str, folder: &Path) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut begun: HashMap<u32, String> = HashMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let (thread, rest): (u32, _) = (thread.parse().expect("a thread"), rest.trim_start());
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            calls.extend(Line::of(start, folder).begins(thread));
            begun.insert(thread, start.to_owned());
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let whole = begun.remove(&thread).expect("it began") + end;
            calls.extend(Line::of(&whole, folder).ends(thread));
        } else if rest.contains('(') {
            let line = Line::of(rest, folder);
            calls.extend(line.begins(thread));
            calls.extend(line.ends(thread));
        }
    }
    calls
}

/// A call's name, the paths that its descriptors have, its strings, and what stands between them.
struct Line<'a> {
    name: &'a str,
    /// What each descriptor stands for, that of the result last.
    files: Vec<PathBuf>,
    strings: Vec<Vec<u8>>,
    rest: String,
    folder: &'a Path,
}

impl<'a> Line<'a> {
    fn of(text: &'a str, folder: &'a Path) -> Self {
        let (name, arguments) = text.split_once('(').unwrap_or((text, ""));
        let mut line = Self { name, files: Vec::new(), strings: Vec::new(), rest: String::new(), folder };
        let mut left = arguments;
        while let Some(at) = left.find(['<', '"']) {
            line.rest.push_str(&left[..at]);
            let end = if left[at..].starts_with('<') { '>' } else { '"' };
            let (inner, after) = left[at + 1..].split_once(end).unwrap_or((&left[at + 1..], ""));
            let bytes = bytes(inner);
            if end == '"' {
                line.strings.push(bytes);
                line.rest.push('"');
            } else {
                line.files.push(PathBuf::from(String::from_utf8(bytes).expect("a path in UTF-8")));
            }
            left = after;
        }
        line.rest.push_str(left);
        line
    }

    fn path(&self, place: usize) -> PathBuf {
        self.folder.join(String::from_utf8(self.strings[place].clone()).expect("a path in UTF-8"))
    }

    /// What is known as soon as the call begins.
    fn begins(&self, thread: u32) -> Option<Call> {
        let of_others =
            |file: &PathBuf| ["socket:", "pipe:"].iter().any(|kind| file.to_string_lossy().starts_with(kind));
        match self.name {
            "fsync" | "fdatasync" => Some(Call::Flushes { path: self.files[0].clone(), thread }),
            "write" | "writev" | "sendto" | "sendmsg" if self.files.first().is_some_and(of_others) => {
                Some(Call::Sends { bytes: self.strings.concat() })
            }
            _ => None,
        }
    }

    /// What is done when the call has ended.
    fn ends(&self, thread: u32) -> Option<Call> {
        let (_, result) = self.rest.rsplit_once(" = ")?;
        let result: i64 = result.split_whitespace().next()?.parse().ok()?;
        let file = self.files.first().filter(|file| file.starts_with(self.folder));
        if result < 0 {
            return None;
        }
        let numbers: Vec<usize> = self.rest.split([',', ')']).filter_map(|part| part.trim().parse().ok()).collect();
        let length = usize::try_from(result).expect("a length");
        let written = || self.strings.concat()[..length].to_vec();
        match self.name {
            "open" | "openat" | "creat" => {
                let path = self.files.last()?.clone();
                let (made, emptied) = (self.rest.contains("O_CREAT"), self.rest.contains("O_TRUNC"));
                path.starts_with(self.folder).then_some(Call::Opened { path, made, emptied })
            }
            "write" | "writev" => Some(Call::Wrote { path: file?.clone(), at: None, bytes: written() }),
            "pwrite64" => Some(Call::Wrote { path: file?.clone(), at: numbers.last().copied(), bytes: written() }),
            "ftruncate" => Some(Call::Cut { path: file?.clone(), length: *numbers.last()? }),
            "rename" | "renameat" | "renameat2" => Some(Call::Renamed { from: self.path(0), to: self.path(1) }),
            "unlink" | "unlinkat" => Some(Call::Removed { path: self.path(0) }),
            "fsync" | "fdatasync" => Some(Call::Flushed { thread }),
            other => {
                assert!(file.is_none(), "{other} is not understood: {}", self.rest);
                None
            }
        }
    }
}

/// `\x2f\x74`, or a name that stands as it is.
fn bytes(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16).expect("two digits")).collect()
}
