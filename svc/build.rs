//! Resources of the service's program: its version, and the messages that Event Viewer shows.

#[path = "src/message.rs"]
#[expect(unreachable_pub, reason = "the program's library exports it")]
mod message;

fn main() -> Result<(), driver_build::Error> {
    let messages =
        message::Message::ALL.iter().map(|message| (message.code(), format!("{}%1", message.text())));
    driver_build::configure_program("xenguard-svc", messages.collect())
}
