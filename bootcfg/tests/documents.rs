//! Checks of what is written about the program: its help, the manual page, completions, and the documents in
//! `docs`. They name the same commands, options and exit codes.

#![cfg(unix)]

mod run;

use bootcfg::{
    cli::{Arguments, Command},
    exit::Exit,
};
use clap::{CommandFactory, Parser};
use run::Folder;
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{self, Stdio},
};

/// Documents that show how the program is called.
const DOCUMENTS: [&str; 7] = [
    "docs/bootcfg.md",
    "docs/admin-guide.md",
    "docs/installation.md",
    "docs/bugcheck.md",
    "docs/signing.md",
    "README.md",
    "docs/features.md",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the calls of the program in a text: in a line of a block of code, or between backquotes.
fn calls(text: &str) -> Vec<String> {
    let mut calls = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if is_block || line.starts_with("  xenguard") {
            calls.push(line.to_owned());
        } else {
            calls.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let is_call = |call: &String| {
        let program = call.split_whitespace().next().unwrap_or_default().trim_start_matches("./");
        matches!(program, "xenguard" | "xenguard.exe" | "sudo") && call.contains("xenguard")
    };
    calls.retain(is_call);
    calls
}

/// Returns the words of a call, without remarks, redirections, and what the reader puts in.
fn words(call: &str) -> Option<Vec<String>> {
    let call = call.trim().trim_start_matches("sudo ").split(" #").next()?;
    // Behind three blanks there is an explanation.
    let call = call.split("   ").next()?.split(" > ").next()?.split(" | ").next()?;
    if call.contains('…') || call.contains("status|") {
        return None;
    }
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in call.trim().chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("one").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words[0] = "xenguard".to_owned();
    Some(words)
}

/// Whatever a document or the help shows is understood as it stands there.
#[test]
fn what_is_shown_is_understood() {
    let mut count = 0;
    let mut texts: Vec<_> = DOCUMENTS.iter().map(|path| ((*path).to_owned(), read(path))).collect();
    let mut command = Arguments::command();
    command.build();
    texts.push(("--help".to_owned(), command.render_long_help().to_string()));
    for subcommand in command.get_subcommands_mut() {
        let help = subcommand.render_long_help().to_string();
        texts.push((format!("{} --help", subcommand.get_name()), help));
    }
    for (name, text) in texts {
        assert!(!text.contains("bootcfg status") && !text.contains("bootcfg --root"), "{name}: the old name");
        for call in calls(&text) {
            let Some(words) = words(&call).filter(|words| words.len() > 1) else { continue };
            if let Err(error) = Arguments::try_parse_from(&words)
                && error.use_stderr()
            {
                panic!("{name}: {call}: {words:?}: {error}");
            }
            count += 1;
        }
    }
    assert!(count > 50, "{count} calls were found");
}

/// The page on the command has every command with its options, every option for all, and every exit code.
#[test]
fn the_page_on_the_command_is_whole() {
    let page = read("docs/bootcfg.md");
    let commands = page.split("| command | what it does |").nth(1).expect("the table of commands");
    let (table, rest) = commands.split_once("\n\n").expect("its end");
    let cells: Vec<&str> = table.lines().filter_map(|row| row.split(" | ").next()).collect();
    let command = Arguments::command();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        let named = |cell: &&&str| {
            let mut parts = cell.split('`').skip(1).step_by(2);
            parts.any(|part| part.split([' ', '[']).next() == Some(name))
        };
        let cells: Vec<_> = cells.iter().filter(named).collect();
        assert!(!cells.is_empty(), "{name} is not in the table");
        for option in subcommand.get_arguments().filter_map(clap::Arg::get_long) {
            let option = format!("--{option}");
            assert!(cells.iter().any(|cell| cell.contains(&option)), "{name}: {option} is not in the table");
        }
    }
    let options =
        rest.split("Options for all: ").nth(1).expect("options").split(". ").next().expect("a sentence");
    let shown: BTreeSet<&str> =
        options.split(['`', ' ', '/', ',']).filter(|word| word.starts_with("--")).collect();
    let global =
        command.get_arguments().filter(|argument| argument.is_global_set() && !argument.is_hide_set());
    let known: BTreeSet<String> =
        global.filter_map(clap::Arg::get_long).map(|long| format!("--{long}")).collect();
    for option in &known {
        let short = ["--quiet", "--verbose"].contains(&option.as_str());
        assert!(short || shown.contains(option.as_str()), "{option} is not among the options for all");
    }
    assert!(shown.iter().all(|option| known.contains(*option)), "{shown:?}");

    let codes = page.split("## Exit codes").nth(1).expect("exit codes");
    let rows: Vec<u8> = codes
        .lines()
        .skip(1)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.trim_start_matches("| ").split(' ').next()?.parse().ok())
        .collect();
    let all = [
        Exit::Done,
        Exit::Findings,
        Exit::Usage,
        Exit::Refused,
        Exit::Unusable,
        Exit::Io,
        Exit::Busy,
        Exit::NotPermitted,
        Exit::Tool,
        Exit::Declined,
        Exit::Package,
    ];
    assert_eq!(rows, all.map(|exit| exit as u8));
    let help = Arguments::command().render_long_help().to_string();
    let help = help.split("Exit codes:").nth(1).expect("exit codes");
    for code in rows {
        let is_there = help.split_whitespace().any(|word| word == code.to_string());
        assert!(is_there, "{code} is not in --help");
    }
}

/// The manual page is one page, which has every command and nothing that is for tests.
#[test]
fn the_manual_page_is_whole() {
    let page = Folder::new().run("man").gives(0).out;
    assert_eq!(page.matches("\n.TH ").count(), 1);
    for subcommand in Arguments::command().get_subcommands() {
        let name = subcommand.get_name().to_uppercase();
        assert_eq!(page.matches(&format!("\n.SH \"XENGUARD {name}\"\n")).count(), 1, "{name}");
        for option in subcommand.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("\\-\\-{}", option.replace('-', "\\-"))), "{name}: {option}");
        }
    }
    for absent in ["bootcfg", "(1)", "\\-\\-tools", "\\-\\-bcdedit", "\\-\\-registry"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains(".SH \"EXIT CODES\"") && page.contains(".SH \"EXAMPLES\""), "{page}");
    let requests: BTreeSet<&str> = page
        .lines()
        .filter(|line| line.starts_with(['.', '\'']))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let known =
        [".TH", ".SH", ".SS", ".TP", ".PP", ".IP", ".RS", ".RE", ".sp", ".br", ".nf", ".fi", ".ie", ".el"];
    assert!(requests.iter().all(|request| known.contains(request)), "{requests:?}");

    let mut lint = process::Command::new("mandoc");
    lint.args(["-T", "lint", "-W", "warning"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut lint) = lint.spawn() else {
        eprintln!("NOT RUN: mandoc is not here");
        return;
    };
    lint.stdin.take().expect("piped").write_all(page.as_bytes()).expect("read");
    let said = lint.wait_with_output().expect("it ends");
    let said: Vec<_> = String::from_utf8_lossy(&said.stdout)
        .lines()
        .map(str::to_owned)
        .filter(|line| !line.contains("date"))
        .collect();
    assert!(said.is_empty(), "{said:#?}");
}

/// Each shell's script offers every command and no option for tests; bash is asked.
#[test]
fn completions_complete() {
    let folder = Folder::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = folder.run(&format!("completions {shell}")).gives(0).out;
        for subcommand in Arguments::command().get_subcommands() {
            assert!(script.contains(subcommand.get_name()), "{shell}: {}", subcommand.get_name());
        }
        assert!(script.contains("dry-run") && script.contains("xenguard"), "{shell}");
        for absent in ["bcdedit", "tools", "registry"] {
            let option = [format!("--{absent}"), format!("-l {absent}")];
            assert!(!option.iter().any(|option| script.contains(option)), "{shell}: {absent}");
        }
        assert!(!script.contains("bootcfg"), "{shell}");
    }
    let script = folder.run("completions bash").out;
    let ask = |line: &[&str]| {
        let words = line.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let (last, before) = (line[line.len() - 1], line[line.len() - 2]);
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={}; _xenguard xenguard '{last}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
            line.len() - 1
        );
        let output = process::Command::new("bash").arg("-c").arg(ask).output().expect("bash is here");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(ask(&["xenguard", "uni"]), "uninstall");
    assert_eq!(ask(&["xenguard", "default", "e"]), "emulated");
    assert_eq!(ask(&["xenguard", "install", "--pack"]), "--package");
    let all = ask(&["xenguard", ""]);
    assert!(all.contains("status") && all.contains("restore") && !all.contains("--tools"), "{all}");
}

/// A command that is named here has its own name.
#[test]
fn a_command_has_its_name() {
    for subcommand in Arguments::command().get_subcommands() {
        let name = subcommand.get_name();
        let line: Vec<&str> = match name {
            "default" => vec!["xenguard", name, "pv"],
            "timeout" => vec!["xenguard", name, "3"],
            "completions" => vec!["xenguard", name, "zsh"],
            _ => vec!["xenguard", name],
        };
        let Arguments { command, .. } = Arguments::try_parse_from(line).expect(name);
        assert_eq!(Command::name(&command), name);
    }
}

/// Windows has a bootcfg.exe of its own: the old name still works, and says what the new one is.
#[test]
fn the_old_name_is_told() {
    assert!(read("docs/bootcfg.md").contains("Windows has a `bootcfg.exe` of its own"));
    let folder = Folder::new();
    folder.write("boot.ini", run::BOOT_INI);
    let old = folder.path("bootcfg");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_xenguard"), &old).expect("linked");
    let called = run::Ran::of(
        process::Command::new(&old)
            .args(["--boot-ini", "boot.ini", "timeout"])
            .arg("9")
            .current_dir(folder.as_path()),
    );
    assert!(called.gives(0).err.contains("this command is xenguard"));
    let ran = folder.run("--boot-ini boot.ini timeout 10").gives(0);
    assert!(!ran.err.contains("this command is xenguard"), "{}", ran.err);
}
