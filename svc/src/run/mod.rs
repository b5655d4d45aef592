//! The service's work, over what it needs of Windows ([`World`], [`Channel`]).
//!
//! It opens xenpci's channel, as soon as there is one and again whenever it was gone; reads events, each of which it
//! tells; says every now and then that it lives; and carries out requests to power off and to reboot that came since it
//! has said so first. A request that came before was the power button's: to carry it out later would end a guest that
//! somebody has kept up. A request that Windows refuses is not acknowledged, and xenpci presses the button.

use std::{io, time::Duration};

use guard::{
    Reason,
    channel::{CHANNEL_VERSION, Event, Kind, Version},
    host,
};

use crate::{message::Message, reading::Reading};

/// Time between two heartbeats.
pub const BEAT: Duration = Duration::from_secs(30);
/// Times between two looks for the channel: the first, doubled each time up to the last.
pub const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32));

/// Channels in a row that go before anything has come, after which the looks become rarer with each further one.
const USELESS: u32 = 5;

/// End of a wait for an event.
#[derive(Debug)]
pub enum Next {
    /// The event is there.
    Event(Event),
    /// Nothing has come in that time.
    Nothing,
    /// The service is to stop.
    Stop,
    /// The channel is gone, or must be closed: its device is asked to go. Says which.
    Gone(String),
}

/// An open channel of xenpci's. Dropping it closes it.
pub trait Channel {
    /// Returns the channel's version.
    ///
    /// # Errors
    /// The answer of the driver.
    fn version(&mut self) -> io::Result<Version>;

    /// Says that the service lives and has carried out the event of this number, and returns the number of the next
    /// event; `None` from a driver that knows no heartbeats.
    ///
    /// # Errors
    /// The answer of the driver.
    fn beat(&mut self, carried: u64) -> io::Result<Option<u64>>;

    /// Waits for the first event from a number on, as long as `limit`.
    fn next(&mut self, from: u64, limit: Duration) -> Next;
}

/// Parts of Windows that the service needs.
pub trait World {
    /// The channel.
    type Channel: Channel;

    /// Opens the channel; `None` where there is none.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    fn open(&mut self) -> io::Result<Option<Self::Channel>>;

    /// Waits; true where the service is to stop.
    fn wait(&mut self, time: Duration) -> bool;

    /// Begins a shutdown. One that is under way already is as good.
    ///
    /// # Errors
    /// The answer of Windows.
    fn shut_down(&mut self, reboot: bool) -> io::Result<()>;

    /// Takes marks of StartOverride away, and returns the services that had one.
    ///
    /// # Errors
    /// Why not, in words.
    fn mend(&mut self) -> Result<Vec<String>, String>;

    /// Tells a message to whoever reads of the service.
    fn tell(&mut self, message: Message, detail: &str);
}

/// Reason for which an open channel is left.
enum Left {
    /// The service is to stop.
    Stop,
    /// The channel is gone: how that showed, and whether it was of use before.
    Gone(String, bool),
    /// It answers, and not as it should.
    Unusable(String),
}

/// Runs the service until it is to stop.
pub fn run(world: &mut impl World) {
    world.tell(Message::Started, env!("CARGO_PKG_VERSION"));
    mend(world);
    let (mut reading, mut patience, mut useless) = (Reading::default(), LOOK.0, 0);
    // The same is told once.
    let mut told = None;
    loop {
        let opened = match world.open() {
            Ok(Some(channel)) => Ok(channel),
            Ok(None) => Err((Message::Absent, String::new())),
            Err(error) => Err((Message::Unusable, error.to_string())),
        };
        let news = match opened {
            Ok(channel) => match follow(world, channel, &mut reading) {
                Left::Stop => break,
                Left::Gone(how, was_of_use) => {
                    told = None;
                    useless = if was_of_use { 0 } else { useless + 1 };
                    if useless < USELESS {
                        patience = LOOK.0;
                    }
                    (Message::Gone, how)
                }
                Left::Unusable(why) => (Message::Unusable, why),
            },
            Err(news) => news,
        };
        // After its end a channel's absence is no news.
        let is_known = matches!(told, Some((Message::Gone, _))) && news.0 == Message::Absent;
        if !is_known && told.as_ref() != Some(&news) {
            world.tell(news.0, &news.1);
            told = Some(news);
        }
        if world.wait(patience) {
            break;
        }
        patience = (patience * 2).min(LOOK.1);
    }
    mend(world);
    world.tell(Message::Stopped, "");
}

/// Takes marks of StartOverride away, and tells of it.
fn mend(world: &mut impl World) {
    match world.mend() {
        Ok(services) if services.is_empty() => {}
        Ok(services) => world.tell(Message::Mended, &services.join(", ")),
        Err(why) => world.tell(Message::NotMended, &why),
    }
}

/// Follows an open channel to its end.
fn follow<W: World>(world: &mut W, mut channel: W::Channel, reading: &mut Reading) -> Left {
    match channel.version() {
        Ok(version) if version.channel == CHANNEL_VERSION => {}
        Ok(version) => {
            return Left::Unusable(format!(
                "it has version {}, and this service knows {CHANNEL_VERSION}",
                version.channel
            ));
        }
        Err(error) => return Left::Unusable(format!("its version: {error}")),
    }
    // The first event that is the service's to carry out, from a driver that knows of it.
    let mut carried = 0;
    let own = match channel.beat(carried) {
        Ok(own) => own,
        Err(error) => return Left::Unusable(format!("the first heartbeat: {error}")),
    };
    reading.opened();
    world.tell(
        Message::Connected,
        match own {
            Some(_) => "requests to power off and to reboot are carried out",
            None => "this xenpci knows no heartbeats, and presses the power button at requests to power off and to reboot",
        },
    );
    let mut of_use = false;
    loop {
        let next = channel.next(reading.from(), BEAT);
        of_use |= matches!(next, Next::Event(_) | Next::Nothing);
        match next {
            Next::Stop => return Left::Stop,
            Next::Gone(how) => return Left::Gone(how, of_use),
            Next::Nothing => {}
            Next::Event(event) => {
                let Some((event, lost)) = reading.take(event) else { continue };
                if lost > 0 {
                    world.tell(Message::Lost, &lost.to_string());
                }
                let is_own = own.is_some_and(|own| event.sequence >= own);
                if !happened(world, event, is_own) {
                    continue;
                }
                carried = event.sequence;
            }
        }
        if own.is_some()
            && let Err(error) = channel.beat(carried)
        {
            return Left::Gone(format!("a heartbeat: {error}"), of_use);
        }
    }
}

/// Tells of an event, and carries it out where it is the service's. Returns whether it was carried out.
fn happened(world: &mut impl World, event: Event, is_own: bool) -> bool {
    match Kind::from_number(event.kind) {
        Some(Kind::Status) => world.tell(Message::Status, &status(event.value)),
        Some(Kind::Suspending) => world.tell(Message::Suspending, ""),
        Some(Kind::Resumed) => {
            world.tell(Message::Resumed, if event.value == 1 { "in a new domain" } else { "where it was" });
        }
        Some(kind @ (Kind::PowerOff | Kind::Reboot)) => {
            let reboot = kind == Kind::Reboot;
            let what = if reboot { "reboot" } else { "power off" };
            if !is_own {
                world.tell(Message::Pressed, what);
                return false;
            }
            // Told first: there may be no time afterwards.
            world.tell(Message::ShuttingDown, what);
            return match world.shut_down(reboot) {
                Ok(()) => true,
                Err(error) => {
                    world.tell(Message::ShutdownFailed, &format!("{what}: {error}"));
                    false
                }
            };
        }
        None => world.tell(Message::Unknown, &format!("{}, value {:#x}", event.kind, event.value)),
    }
    false
}

/// Returns the words for a status event's value: phase and reason.
fn status(value: u32) -> String {
    let (phase, code) = (value >> 16, value & 0xFFFF);
    let phase = host::PHASES.get(phase as usize).copied().unwrap_or("of an unknown phase");
    match Reason::from_code(code) {
        Some(reason) => format!("{phase}, {} (reason {code:#x})", reason.text()),
        None => format!("{phase}, reason {code:#x}"),
    }
}

#[cfg(test)]
mod tests;
