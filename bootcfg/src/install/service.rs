//! The suite's service of user mode: its file beside the system's programs, its keys, and the tools' lines for it in a
//! running Windows. Nothing of the drivers depends on it; a package may come without it.

use std::path::{Path, PathBuf};

use crate::inf::{Change, Kind, Registry};

/// Name of the service, and of its source in the event log.
pub const NAME: &str = "xenguard-svc";
/// Name of its file, in `System32` and in a package.
pub const FILE: &str = "xenguard-svc.exe";
/// Name for people.
pub const DISPLAY_NAME: &str = "Xenguard service";

const DESCRIPTION: &str = "Shuts Windows down or restarts it when the toolstack of the Xen host asks, and writes the \
     events of the Xenguard drivers into the event log. The disks do not depend on it.";
/// Path of the file, as the service manager and the event log take it.
const IMAGE: &str = "%SystemRoot%\\System32\\xenguard-svc.exe";
const SERVICES: &str = "SYSTEM\\CurrentControlSet\\Services";
/// `SERVICE_WIN32_OWN_PROCESS`.
const OWN_PROCESS: u32 = 0x10;
/// `SERVICE_AUTO_START`.
const AUTO_START: u32 = 2;
/// `SERVICE_ERROR_NORMAL`.
const ERROR_NORMAL: u32 = 1;
/// Errors, warnings and information.
const TYPES_SUPPORTED: u32 = 7;
/// Seconds after which failures are forgotten.
const FORGOTTEN: u32 = 86_400;
/// Milliseconds after which a service that has failed is started again: for the first time, the second, the third.
const RESTARTS: [u32; 3] = [5_000, 60_000, 60_000];

/// Returns the registry's changes that install the service. What the admin has set of its start stays.
#[must_use]
pub fn changes() -> Vec<Change> {
    let service = format!("{SERVICES}\\{NAME}");
    let source = format!("{SERVICES}\\EventLog\\System\\{NAME}");
    let set = |key: &str, name: &str, value| Change {
        key: key.to_owned(),
        name: name.to_owned(),
        kind: Kind::Set(value),
    };
    let text = |text: &str| Registry::Text(text.to_owned());
    vec![
        set(&service, "Type", Registry::Dword(OWN_PROCESS)),
        Change {
            key: service.clone(),
            name: "Start".to_owned(),
            kind: Kind::Default(Registry::Dword(AUTO_START)),
        },
        set(&service, "ErrorControl", Registry::Dword(ERROR_NORMAL)),
        set(&service, "ImagePath", Registry::Expand(IMAGE.to_owned())),
        set(&service, "DisplayName", text(DISPLAY_NAME)),
        set(&service, "ObjectName", text("LocalSystem")),
        set(&service, "Description", text(DESCRIPTION)),
        set(&service, "FailureActions", Registry::Binary(failure_actions())),
        set(&source, "EventMessageFile", Registry::Expand(IMAGE.to_owned())),
        set(&source, "TypesSupported", Registry::Dword(TYPES_SUPPORTED)),
    ]
}

/// Returns what the service manager keeps of `SERVICE_FAILURE_ACTIONS`, with pointers of 32 bits: the actions stand at
/// the offset that their pointer says.
fn failure_actions() -> Vec<u8> {
    /// `SC_ACTION_RESTART`.
    const RESTART: u32 = 1;
    let head = [FORGOTTEN, 0, 0, RESTARTS.len() as u32, 20];
    let actions = RESTARTS.iter().flat_map(|&delay| [RESTART, delay]);
    head.into_iter().chain(actions).flat_map(u32::to_le_bytes).collect()
}

/// Returns the path of the file, beside the folder of drivers.
#[must_use]
pub fn file_beside(drivers: &Path) -> Option<PathBuf> {
    drivers.parent().map(|system32| system32.join(FILE))
}

/// Returns the line that stops the service and waits for its end. It fails where the service does not run.
pub(super) fn stop() -> Vec<String> {
    words(&["net", "stop", NAME])
}

/// Returns the line that starts the service.
pub(super) fn start() -> Vec<String> {
    words(&["net", "start", NAME])
}

/// Returns the line that makes the service, which fails where there is one, and the line for one that there is.
pub(super) fn make() -> [Vec<String>; 2] {
    let of = |verb: &str| words(&["sc", verb, NAME, "binPath=", IMAGE, "type=", "own"]);
    let mut create = of("create");
    create.extend(words(&["start=", "auto", "DisplayName=", DISPLAY_NAME]));
    [create, of("config")]
}

/// Returns the lines that complete the service and make its source in the event log.
pub(super) fn complete() -> Vec<Vec<String>> {
    let source = format!("HKLM\\{SERVICES}\\EventLog\\System\\{NAME}");
    let actions: Vec<_> = RESTARTS.iter().map(|delay| format!("restart/{delay}")).collect();
    vec![
        words(&["sc", "failure", NAME, "reset=", &FORGOTTEN.to_string(), "actions=", &actions.join("/")]),
        words(&["sc", "description", NAME, DESCRIPTION]),
        words(&["reg", "add", &source, "/v", "EventMessageFile", "/t", "REG_EXPAND_SZ", "/d", IMAGE, "/f"]),
        words(&[
            "reg",
            "add",
            &source,
            "/v",
            "TypesSupported",
            "/t",
            "REG_DWORD",
            "/d",
            &TYPES_SUPPORTED.to_string(),
            "/f",
        ]),
    ]
}

/// Returns the lines that remove the service and its source in the event log.
pub(super) fn remove() -> [Vec<String>; 2] {
    let source = format!("HKLM\\{SERVICES}\\EventLog\\System\\{NAME}");
    [words(&["sc", "delete", NAME]), words(&["reg", "delete", &source, "/f"])]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_actions_are_of_the_documented_form() {
        let bytes = failure_actions();
        assert_eq!(bytes.len(), 44);
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert_eq!([number(0), number(12), number(16)], [86_400, 3, 20]);
        assert_eq!([number(20), number(24), number(36), number(40)], [1, 5_000, 1, 60_000]);
    }

    /// The service of both ways of installing has one path, and it is that of its file.
    #[test]
    fn the_path_is_that_of_the_file() {
        assert!(IMAGE.ends_with(&format!("\\System32\\{FILE}")) && FILE == format!("{NAME}.exe"));
        assert!(make().iter().all(|line| line.iter().any(|word| word == IMAGE)));
        assert_eq!(
            file_beside(Path::new("/w/System32/drivers")),
            Some(PathBuf::from("/w/System32/xenguard-svc.exe"))
        );
    }
}
