//! Each rule names its breach: the files as they are, changed in one respect at a time.

use std::{collections::BTreeSet, fs};

use super::{RULES, Suite};
use crate::layout::Layout;
use guests::built::INFS;

fn texts() -> Vec<(String, String)> {
    let folder = Layout::here().root().join("inf");
    let read = |name: &&str| fs::read_to_string(folder.join(format!("{name}.inf"))).expect("readable");
    INFS.iter().map(|name| ((*name).to_owned(), read(name).replace("\r\n", "\n"))).collect()
}

fn check(texts: Vec<(String, String)>) -> Vec<String> {
    Suite::of(texts, env!("CARGO_PKG_VERSION")).check()
}

/// The rule that must name it, the file, a piece of it, and what stands there instead.
const BREACHES: &[(&str, &str, &str, &str)] = &[
    ("syntax", "xenpci", "\"Xenguard driver files\"", "\"Xenguard driver files"),
    ("syntax", "xenpci", "\"Xenguard Xen platform device\"", "\"Xenguard f\u{fc}r Xen\""),
    ("syntax", "xenvbd", "%Xenvbd% = Xenvbd,", "%Xenvbdd% = Xenvbd,"),
    ("version", "idefilter", "$WINDOWS NT$", "$CHICAGO$"),
    ("version", "idefilter", "Class       = System", "Class       = Unknown"),
    ("version", "xenpci", "PnpLockdown = 1", "PnpLockdown = 0"),
    ("version", "xenpci", "11/21/2026", "21/11/2026"),
    ("version", "xenpci", ",0.1.0.0", ",0.0.9.0"),
    ("version", "xenvbd", "CatalogFile = xenguard.cat\n", ""),
    ("version", "idefilter", "[Version]\n", "[Version]\nReboot = 1\n"),
    ("strings", "idefilter", "[Strings]\n", "[Strings]\nUnused = \"x\"\n"),
    ("sections", "idefilter", "[Idefilter.Parameters]", "[Idefilter.Parameters]\n\n[Idefilter.Parameters]"),
    ("sections", "xenpci", "[Strings]\n", "[Orphan]\na = b\n\n[Strings]\n"),
    ("sections", "idefilter", "CopyFiles = Idefilter.Files", "CopyFiles = Idefilter.Files,Nowhere"),
    ("architecture", "xenpci", "Xenguard,NTamd64\n", "Xenguard,NTamd64,NTx86\n"),
    (
        "directives",
        "idefilter",
        "LegacyUninstall = 1\n",
        "LegacyUninstall = 1\nUpdateInis = Idefilter.Files\n",
    ),
    ("directives", "xenvbd", "StartType      = 0", "Dependencies   = disk\nStartType      = 0"),
    ("files", "xenpci", "xenvbd.sys = 1\n", ""),
    ("files", "xenvbd", "xenvbd.sys = 1\n", "xenvbd.sys = 1\nextra.sys = 1\n"),
    ("files", "xenvbd", "xenvbd.sys = 1\n", "xenvbd.sys = 2\n"),
    ("files", "xenvbd", "xenvbd.sys = 1\n", "xenvbd.sys = 1,amd64\n"),
    ("files", "xenvbd", "1 = %Media%\n", "1 = %Media%,,,\\amd64\n"),
    ("files", "xenvbd", "1 = %Media%\n", "1 = %Media%,xenvbd.cab\n"),
    ("files", "xenvbd", "[Xenvbd.Files]\n", "[Xenvbd.Files]\nWdfCoInstaller.dll\n"),
    ("destination", "idefilter", "[DestinationDirs]\n", "[DestinationDirs]\nIdefilter.RemoveFile = 11\n"),
    (
        "hardware-ids",
        "xenpci",
        "[Xenguard.NTamd64]\n",
        "[Xenguard.NTamd64]\n%Xenpci% = Xenpci,PCI\\CC_FF80\n",
    ),
    ("hardware-ids", "xenpci", "%Xenpci% = Xenpci,PCI\\VEN_5853&DEV_0002\n", ""),
    ("services", "idefilter", "StartType      = 0 ", "StartType      = 3 "),
    ("services", "idefilter", "ErrorControl   = 1 ", "ErrorControl   = 3 "),
    ("services", "idefilter", "System Reserved   ; before any bus driver\n", "Extended Base\n"),
    (
        "services",
        "idefilter",
        "System Reserved   ; before any bus driver,",
        "Boot Bus Extender   ; before any,",
    ),
    ("services", "idefilter", "AddService = idefilter,,", "AddService = idefilter,2,"),
    ("same-service", "xenpci", "HKR,Parameters,BusType,0x00010001,8", "HKR,Parameters,BusType,0x00010001,2"),
    ("same-service", "xenpci", "HKR,Parameters,BusType,0x00010001,8\n", ""),
    ("event-log", "idefilter", "Idefilter.Service,Idefilter.EventLog", "Idefilter.Service"),
    ("event-log", "idefilter", "TypesSupported,0x00010001,7", "TypesSupported,0x00010001,1"),
    ("event-log", "idefilter", "idefilter,0x00000004", "idefilter"),
    ("event-log", "idefilter", "Idefallback.Service,Idefallback.EventLog", "Idefallback.Service"),
    ("class-filters", "idefilter", "UpperFilters,0x00010008", "UpperFilters,0x00010000"),
    ("class-filters", "idefilter", "UpperFilters,0x00018002,\"idefilter\"", "UpperFilters"),
    (
        "class-filters",
        "idefilter",
        "UpperFilters,0x00018002,\"idefilter\"",
        "UpperFilters,0x00018002,\"other\"",
    ),
    (
        "class-filters",
        "idefilter",
        "[DefaultInstall.NTamd64]\n",
        "[Early]\nHKLM,\"SYSTEM\\CurrentControlSet\\Control\\Class\\{4D36E97D-E325-11CE-BFC1-08002BE10318}\",UpperFilters,\
         0x00010008,\"idefilter\"\n\n[DefaultInstall.NTamd64]\nAddReg = Early\n",
    ),
    (
        "uninstall-order",
        "idefilter",
        "LegacyUninstall = 1\n",
        "LegacyUninstall = 1\nDelFiles = Idefilter.Files\n",
    ),
    ("uninstall-order", "idefilter", "LegacyUninstall = 1\n", ""),
    ("uninstall-order", "idefilter", "DelService = idefilter,0x00000004", ""),
    ("uninstall-order", "idefilter", "DelService = idefallback,0x00000004", ""),
    ("critical-devices", "xenpci", "#ven_5853&dev_0002\",Service", "#ven_5853&dev_0003\",Service"),
    (
        "critical-devices",
        "xenvbd",
        "\"{4D36E97B-E325-11CE-BFC1-08002BE10318}\"",
        "\"{4D36E97D-E325-11CE-BFC1-08002BE10318}\"",
    ),
    ("critical-devices", "xenpci", "xenguard#vbd\",Service", "xenguard#vbd\",Servant"),
    ("security", "xenpci", "(A;;GA;;;BA)", "(A;;GA;;;BA)(A;;GR;;;WD)"),
    ("parameters", "idefilter", "HKR,Parameters,Strict,", "HKR,Parameters,Stricter,"),
    ("parameters", "idefilter", "Strict,0x00010003", "Strict,0x00010001"),
    ("parameters", "xenvbd", ";   BusType ", ";   BusKind "),
];

#[test]
fn the_files_keep_every_rule() {
    assert_eq!(check(texts()), Vec::<String>::new());
}

#[test]
fn each_breach_is_named_by_its_rule() {
    for (rule, name, piece, instead) in BREACHES {
        let mut texts = texts();
        let (_, text) = texts.iter_mut().find(|(own, _)| own == name).expect("there");
        assert!(text.contains(piece), "{name}.inf has {piece:?}");
        *text = text.replacen(piece, instead, 1);
        let found = check(texts);
        let named = |finding: &String| finding.starts_with(&format!("{name}.inf: {rule}: "));
        assert!(found.iter().any(named), "{rule}: {name}.inf with {instead:?}: {found:#?}");
    }
}

#[test]
fn a_breach_of_few_consequences_is_named_by_no_other_rule() {
    // Where a change cannot break a second rule, none is named.
    let sole = ["version", "strings", "services", "uninstall-order", "security", "parameters"];
    for (rule, name, piece, instead) in BREACHES.iter().filter(|(rule, ..)| sole.contains(rule)) {
        let mut texts = texts();
        let (_, text) = texts.iter_mut().find(|(own, _)| own == name).expect("there");
        *text = text.replacen(piece, instead, 1);
        let found = check(texts);
        assert!(found.iter().all(|finding| finding.contains(&format!(": {rule}: "))), "{rule}: {found:#?}");
    }
}

#[test]
fn every_rule_has_a_breach_and_stands_in_the_docs() {
    let rules: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
    let broken: BTreeSet<_> = BREACHES.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(rules, broken);
    let docs = fs::read_to_string(Layout::here().root().join("docs/installation.md")).expect("readable");
    for rule in RULES {
        let row = format!("| {} | {} |", rule.name, rule.what.replace('|', "\\|"));
        assert!(docs.contains(&row), "docs/installation.md lacks the row\n{row}");
    }
}
