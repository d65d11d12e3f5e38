//! Names and contents of prompt files: what is a prompt, what is left out, and what is said of it.

mod common;

use std::fs;

use common::{MODEL, Workspace};
use promptmill::standin::answer;

const NOTHING: &str = "0 prompts = 0 done + 0 up to date + 0 failed + 0 pending";

#[test]
fn a_number_that_cannot_be_kept_is_refused_by_name() {
    let workspace = Workspace::with_prompts(1);
    let most = i64::MAX.unsigned_abs();
    for number in [most.to_string(), (most + 1).to_string(), u64::MAX.to_string(), "99999999999999999999".to_owned()] {
        workspace.write(&format!("prompts/{number}_prompt.txt"), format!("Number {number}"));
    }
    let left_out =
        ["9223372036854775808_prompt.txt", "18446744073709551615_prompt.txt", "99999999999999999999_prompt.txt"];
    let ran = workspace.run_to(0, &["--offline", "--range", "all"]);
    ran.says(&left_out).says(&["left out, because the number is over 9223372036854775807"]);
    ran.closes("2 prompts = 2 done + 0 up to date + 0 failed + 0 pending");
    assert!(workspace.read(&format!("outputs/{most}_output.txt")).contains("stand-in"));
    for flag in ["--only", "--range"] {
        let refused = workspace.run_to(2, &["--offline", flag, "1-9223372036854775808"]);
        refused.says(&["`9223372036854775808`", "9223372036854775807", &format!("from {flag}")]);
    }
    workspace.run_to(2, &["plan", "--priorities", "18446744073709551615=1"]).says(&["`18446744073709551615`"]);
}

#[test]
fn leading_zeros_are_no_part_of_a_number() {
    let workspace = Workspace::with_prompts(0);
    for name in ["001", "02", "3"] {
        workspace.write(&format!("prompts/{name}_prompt.txt"), format!("I am {name}."));
    }
    workspace.write("prompts/0004_prompt.txt", b"\xff");
    workspace.write("prompts/005_prompt.txt", "");
    let ran = workspace.run_to(1, &["--offline"]);
    ran.says(&["prompts/0004_prompt.txt", "005_prompt.txt"]);
    ran.closes("4 prompts = 3 done + 0 up to date + 1 failed + 0 pending");
    for (number, name) in [(1, "001"), (2, "02"), (3, "3")] {
        let expected = answer(MODEL, &format!("I am {name}."));
        assert_eq!(workspace.output(number).as_deref(), Some(&*expected));
    }
    fs::remove_file(workspace.path("prompts/0004_prompt.txt")).expect("removed");
    fs::rename(workspace.path("prompts/001_prompt.txt"), workspace.path("prompts/1_prompt.txt")).expect("renamed");
    workspace.run_to(0, &["--offline"]).closes("3 prompts = 0 done + 3 up to date + 0 failed + 0 pending");
}

#[test]
fn two_files_of_one_number_are_named() {
    for (one, other) in [("1", "001"), ("0001", "01")] {
        let workspace = Workspace::with_prompts(0);
        workspace.write(&format!("prompts/{one}_prompt.txt"), "one");
        workspace.write(&format!("prompts/{other}_prompt.txt"), "");
        workspace.write("prompts/2_prompt.txt", "two");
        let names = [one, other].map(|number| format!("{number}_prompt.txt"));
        for args in [["--offline"].as_slice(), &["plan"]] {
            workspace.run_to(2, args).says(&[&names[0], &names[1], "both prompt 1", "rename"]);
        }
        workspace.run_to(0, &["--offline", "--only", "2"]);
    }
}

#[test]
fn a_folder_without_a_prompts_name_says_what_to_rename() {
    let workspace = Workspace::with_prompts(0);
    workspace.write("prompts/.hidden", "x");
    fs::create_dir(workspace.path("prompts/old")).expect("made");
    workspace.run_to(0, &["--offline"]).says(&["no prompts in prompts", "1_prompt.txt"]).closes(NOTHING);
    workspace.write("prompts/question.txt", "x");
    for args in [[].as_slice(), &["--offline"], &["plan"], &["--only", "1"]] {
        workspace.run_to(2, args).says(&["prompts", "rename `question.txt` to `1_prompt.txt`"]);
    }
    workspace.write("prompts/prompt_17.md", "x");
    workspace.write("prompts/readme", "x");
    workspace.run_to(2, &["plan"]).says(&["rename `prompt_17.md` to `17_prompt.txt`, and the other 2 likewise"]);
    workspace.write("prompts/101_prompt.txt", "x");
    workspace.run_to(0, &["plan"]).says(&["--range 1-100", "101_prompt.txt", "question.txt"]);
}

#[test]
fn files_without_text_are_left_out_and_named() {
    let workspace = Workspace::with_prompts(1);
    for (number, text) in [(2, ""), (3, "\u{feff}"), (4, "  \t "), (5, "\n\r\n"), (6, "\u{feff} \n")] {
        workspace.write(&format!("prompts/{number}_prompt.txt"), text);
    }
    let named = "left out, because there is no text in it: 2_prompt.txt, 3_prompt.txt, 4_prompt.txt, 5_prompt.txt, 6_prompt.txt";
    workspace.run_to(0, &["plan", "--offline"]).says(&[named]);
    let ran = workspace.run_to(0, &["--offline"]);
    ran.says(&[named]).closes("1 prompt = 1 done + 0 up to date + 0 failed + 0 pending");
    fs::remove_file(workspace.path("prompts/1_prompt.txt")).expect("removed");
    // Without a key too: nothing is to be sent.
    workspace.run_to(0, &[]).says(&[named, "no prompts in prompts"]).closes(NOTHING);
    workspace.run_to(0, &["plan"]).says(&[named, "no prompts in prompts"]);
}

#[cfg(target_os = "linux")]
#[test]
fn what_has_a_prompts_name_and_is_no_file_is_named_for_what_it_is() {
    use std::os::unix::fs::symlink;
    let workspace = Workspace::with_prompts(1);
    fs::create_dir(workspace.path("prompts/2_prompt.txt")).expect("made");
    let made = std::process::Command::new("mkfifo").arg(workspace.path("prompts/3_prompt.txt")).status();
    assert!(made.expect("mkfifo").success());
    symlink("/dev/zero", workspace.path("prompts/4_prompt.txt")).expect("a link");
    symlink("nowhere", workspace.path("prompts/5_prompt.txt")).expect("a link");
    let ran = workspace.run_to(1, &["--offline"]);
    ran.says(&[
        "left out, because it is not a regular file: 2_prompt.txt (a folder), 3_prompt.txt (a FIFO), 4_prompt.txt (a device)",
        "prompt 5 failed: unreadable: prompts/5_prompt.txt cannot be read: No such file",
    ]);
    ran.closes("2 prompts = 1 done + 0 up to date + 1 failed + 0 pending");
}
