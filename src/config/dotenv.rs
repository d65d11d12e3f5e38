//! The lines of a `.env` file. Pure.
//!
//! Our own reader, of the common form: `NAME=value`, `export NAME="value" # comment`. Libraries put the process's variables in for `$NAME`; with
//! that, a `.env` that came with a folder could send any of them to the server that it names.

/// One line that assigns something.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// Its number in the file, from 1.
    pub line: usize,
    pub name: &'a str,
    /// The value without its quotation marks, or why there is none.
    pub value: Result<String, &'static str>,
}

/// The assignments of `text`, in order; other lines are passed over.
#[must_use]
pub fn assignments(text: &str) -> Vec<Assignment<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().filter_map(|(index, line)| {
        let line = line.trim();
        let line = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(line);
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| Assignment { line: index + 1, name, value: value_of(value.trim()) })
    });
    lines.collect()
}

fn value_of(text: &str) -> Result<String, &'static str> {
    let Some(mark) = text.chars().next().filter(|c| ['"', '\''].contains(c)) else {
        let end = text.match_indices('#').map(|(at, _)| at).find(|at| text[..*at].ends_with([' ', '\t']) || *at == 0);
        return plain(text[..end.unwrap_or(text.len())].trim_end());
    };
    let inside = &text[1..];
    let end = inside.find(mark).ok_or("its quotation mark is not closed on the line")?;
    let (value, rest) = (&inside[..end], inside[end + 1..].trim_start());
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("something stands behind its closing quotation mark");
    }
    if mark == '\'' { Ok(value.to_owned()) } else { plain(value) }
}

/// A value in which other programs would read marks, which must then be none.
fn plain(value: &str) -> Result<String, &'static str> {
    let names = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || "_{(".contains(c));
    if value.split('$').skip(1).any(names) {
        return Err("it refers to another variable with `$`, which is not filled in here: write the value itself");
    }
    if value.contains('\\') {
        return Err("it has a backslash: put it in single quotation marks");
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, &str, Result<String, &'static str>)> {
        assignments(text).into_iter().map(|Assignment { line, name, value }| (line, name, value)).collect()
    }

    #[test]
    fn the_common_forms_are_read() {
        for (line, value) in [
            ("A=b", "b"),
            ("\u{feff}A=b\r", "b"),
            ("  export   A = b  ", "b"),
            ("A=\"b c\" # said", "b c"),
            ("A='b # c'", "b # c"),
            ("A=b#c # said", "b#c"),
            ("A= # said", ""),
            ("A=", ""),
            ("A=''", ""),
            ("A=b=c; d", "b=c; d"),
            ("A='$HOME\\'", "$HOME\\"),
            ("A=100$", "100$"),
            ("A=\"it's\"", "it's"),
        ] {
            assert_eq!(read(line), [(1, "A", Ok(value.to_owned()))], "{line:?}");
        }
        let text = "# A=1\n\nnot a line\nB-C=1\nA=it's\nexported=1\n";
        let found: Vec<_> = read(text).into_iter().map(|(line, name, _)| (line, name)).collect();
        assert_eq!(found, [(5, "A"), (6, "exported")]);
    }

    #[test]
    fn nothing_is_filled_in_and_nothing_is_guessed() {
        for line in ["A=$HOME", "A=https://a.test/${AWS_SECRET_ACCESS_KEY}", "A=\"x$y\"", "A=$(id)", "A=1$ $b"] {
            let found = assignments(line);
            assert!(found[0].value.as_ref().expect_err(line).contains("another variable"), "{line}");
        }
        for line in ["A=\"b", "A='b", "A=\"b\"c", "A=\"b\\n\"", "A=a\\ b"] {
            assert!(assignments(line)[0].value.is_err(), "{line}");
        }
    }
}
