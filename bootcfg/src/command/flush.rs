//! `flush`: has the running Windows write what was installed to its disk.

use serde_json::json;

use super::Outcome;
use crate::{bail_as, exit::Exit, install::live::Commands, output::Tone, session::Session};

pub(super) fn run(session: &mut Session) -> Outcome {
    if session.global.root.is_some() {
        bail_as!(
            Usage,
            "flush is for the running Windows; what is written below --root is on the disk once that volume is unmounted"
        );
    }
    let commands = Commands::of_system(session)?;
    if session.global.dry_run {
        session
            .output
            .say(Tone::Plain, "would have Windows write its system volume and the registry to the disk");
    } else {
        commands.flush()?;
        session.output.say(Tone::Good, "The drivers' files and the registry are on the disk");
    }
    Ok((Exit::Done, json!({ "flushed": !session.global.dry_run })))
}
