//! A stand-in for bcdedit, for tests: it records how it is called, works on a store that this repository's
//! builder writes, and answers in German, so that nobody parses what it says.
//!
//! `STANDIN_STORE` names the running system's store, `STANDIN_LOG` the record, and `STANDIN_FAIL` a command
//! to fail at: a word that the call must hold.

use anyhow::{Context, Result, bail};
use bootcfg::bcd::{
    BOOT_MANAGER, Bcd, Guid,
    element::{self, BOOT_SEQUENCE, DEFAULT, DESCRIPTION, DISPLAY_ORDER, Data, LOAD_OPTIONS, TIMEOUT},
};
use hive::build::Tree;
use std::{env, fs, io::Write, path::PathBuf};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(log) = env::var_os("STANDIN_LOG") {
        let mut log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        writeln!(log, "{}", arguments.join(" "))?;
    }
    if let Ok(word) = env::var("STANDIN_FAIL")
        && arguments.contains(&word)
    {
        println!("Zugriff verweigert");
        std::process::exit(1);
    }
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let store = if words.first() == Some(&"/store") {
        words.remove(0);
        PathBuf::from(words.remove(0))
    } else {
        env::var_os("STANDIN_STORE").context("STANDIN_STORE is not set")?.into()
    };
    let is_system = env::var_os("STANDIN_STORE").is_some_and(|system| system == store);
    if !is_system && matches!(words.first(), Some(&("/export" | "/import"))) {
        // As the real one: both are of the system store only.
        println!("Falscher Parameter.");
        std::process::exit(1);
    }
    let mut bcd = Bcd::read(&fs::read(&store)?)?;
    let before = bcd.clone();
    run(&mut bcd, &words)?;
    if bcd != before {
        fs::write(&store, hive_of(&bcd))?;
    }
    println!("Der Vorgang wurde erfolgreich beendet.");
    Ok(())
}

fn run(bcd: &mut Bcd, words: &[&str]) -> Result<()> {
    match words {
        ["/enum", "{current}", "/v"] => {
            let current = match env::var("STANDIN_CURRENT") {
                Ok(guid) => guid,
                Err(_) => bcd.default_loader().context("kein Eintrag")?.to_string(),
            };
            println!("\nWindows-Startladeprogramm\n-------------------------");
            println!(
                "Bezeichner              {current}\ninherit                 {{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}}"
            );
        }
        ["/export", file] => fs::write(file, hive_of(bcd))?,
        ["/import", file] => *bcd = Bcd::read(&fs::read(file)?)?,
        ["/copy", source, "/d", name] => {
            let guid = Guid::random();
            let mut copy = bcd.objects.get(&id(source)?).context("kein Eintrag")?.clone();
            copy.elements.insert(DESCRIPTION, Data::of_text(name));
            bcd.objects.insert(guid, copy);
            let mut order = bcd.display_order();
            order.push(guid);
            set(bcd, BOOT_MANAGER, DISPLAY_ORDER, Data::of_guids(&order))?;
            println!("Der Eintrag wurde erfolgreich in {guid} kopiert.");
        }
        ["/set", guid, "loadoptions", text] => set(bcd, id(guid)?, LOAD_OPTIONS, Data::of_text(text))?,
        ["/set", guid, "description", text] => set(bcd, id(guid)?, DESCRIPTION, Data::of_text(text))?,
        ["/deletevalue", guid, name] => {
            let number = [LOAD_OPTIONS, DEFAULT, DISPLAY_ORDER, BOOT_SEQUENCE, TIMEOUT]
                .into_iter()
                .find(|&number| element::name(0, number) == *name)
                .context("kein Element")?;
            bcd.objects
                .get_mut(&id(guid)?)
                .context("kein Eintrag")?
                .elements
                .remove(&number)
                .context("fehlt")?;
        }
        ["/default", guid] => set(bcd, BOOT_MANAGER, DEFAULT, Data::of_guid(id(guid)?))?,
        ["/displayorder", guids @ ..] => set(bcd, BOOT_MANAGER, DISPLAY_ORDER, list(guids)?)?,
        ["/bootsequence", guids @ ..] => set(bcd, BOOT_MANAGER, BOOT_SEQUENCE, list(guids)?)?,
        ["/timeout", seconds] => set(bcd, BOOT_MANAGER, TIMEOUT, Data::of_integer(seconds.parse()?))?,
        ["/delete", guid] => {
            let guid = id(guid)?;
            bcd.objects.remove(&guid).context("kein Eintrag")?;
            let order: Vec<_> = bcd.display_order().into_iter().filter(|&other| other != guid).collect();
            set(bcd, BOOT_MANAGER, DISPLAY_ORDER, Data::of_guids(&order))?;
        }
        _ => bail!("Der Befehl {words:?} ist unbekannt"),
    }
    Ok(())
}

fn set(bcd: &mut Bcd, guid: Guid, number: u32, data: Data) -> Result<()> {
    bcd.objects.get_mut(&guid).context("kein Eintrag")?.elements.insert(number, data);
    Ok(())
}

fn id(text: &str) -> Result<Guid> {
    if text == "{bootmgr}" { Ok(BOOT_MANAGER) } else { Guid::parse(text).context("keine GUID") }
}

fn list(guids: &[&str]) -> Result<Data> {
    Ok(Data::of_guids(&guids.iter().map(|guid| id(guid)).collect::<Result<Vec<_>>>()?))
}

fn hive_of(bcd: &Bcd) -> Vec<u8> {
    let mut tree = Tree::new().with_key("Description", Tree::new().with_text("KeyName", "BCD00000000"));
    for (guid, object) in &bcd.objects {
        let path = format!("Objects\\{guid}");
        tree = tree
            .with_key(&format!("{path}\\Description"), Tree::new().with_dword("Type", object.kind))
            .with_key(&format!("{path}\\Elements"), Tree::new());
        for (number, data) in &object.elements {
            let value = Tree::new().with_value("Element", data.data_type, &data.bytes);
            tree = tree.with_key(&format!("{path}\\Elements\\{number:08x}"), value);
        }
    }
    tree.hive("NewStoreRoot")
}
