// SPDX-License-Identifier: GPL-3.0-only
//! Runs inside dom0 and looks at a guest's part of xenstore: prints it, watches it, and writes to it where a
//! test plays the toolstack or a backend.
//!
//! Nodes are printed as `path = value`, one per line, with everything but printable ASCII, and `%` itself, as
//! `%XX`.

mod cache;
mod grants;
mod hostile;
mod ring;
mod tree;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use futures::StreamExt;
use xenstore_rs::tokio::XsTokio;
use xenstore_rs::{AsyncWatch, AsyncXs};

/// Looks at a guest's nodes in xenstore.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints a guest's own nodes and those of its backends.
    Dump {
        /// Number of the guest's domain.
        domain: u32,
    },
    /// Prints a node and everything below it.
    List {
        /// Absolute path.
        path: String,
    },
    /// Prints a node's value as it stands.
    Read {
        /// Absolute path.
        path: String,
    },
    /// Gives a node a value.
    Write {
        /// Absolute path.
        path: String,
        /// The value.
        value: String,
    },
    /// Removes a node and everything below it.
    Remove {
        /// Absolute path.
        path: String,
    },
    /// Loses what the cache of a file holds, by shutting its file system down.
    LoseCache {
        /// The file.
        path: PathBuf,
        /// Of a hundred pages those that reach the disk all the same.
        percent: u32,
        /// Draws them.
        seed: u64,
    },
    /// Writes too many answers into a disk's ring for twelve seconds: a guest that waits for one looks by itself after ten.
    SpoilRing {
        /// Number of the guest's domain.
        domain: u32,
        /// Grant reference of the ring's first page.
        reference: u32,
    },
    /// Plays a backend for one vbd after the other, each of which breaks the protocol in another way.
    Hostile {
        /// Part that the backend plays.
        part: hostile::Part,
        /// Number of the guest's domain.
        domain: u32,
    },
    /// Prints a node and what becomes of it and of everything below it.
    Watch {
        /// Absolute path.
        path: String,
        /// Ends with success when the node itself has this value.
        #[arg(long)]
        until: Option<String>,
        /// Seconds; with --until, failure when they are over.
        #[arg(long, default_value_t = 30.0)]
        timeout: f64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dom0: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> io::Result<ExitCode> {
    let store = XsTokio::new().await?;
    match command {
        Command::LoseCache { path, percent, seed } => cache::lose(&path, percent, seed)?,
        Command::Dump { domain } => {
            for root in tree::roots(&store, domain).await? {
                tree::print(&store, &root).await?;
            }
        }
        Command::List { path } => tree::print(&store, &path).await?,
        Command::Read { path } => println!("{}", at(&path, store.read(&path).await)?),
        Command::Write { path, value } => at(&path, store.write(&path, &value).await)?,
        Command::Remove { path } => at(&path, store.rm(&path).await)?,
        Command::SpoilRing { domain, reference } => ring::spoil(domain, reference, Duration::from_secs(12))?,
        Command::Hostile { part, domain } => hostile::play(&store, domain, part).await?,
        Command::Watch { path, until, timeout } => {
            let limit = Duration::try_from_secs_f64(timeout).map_err(io::Error::other)?;
            let watching = tokio::time::timeout(limit, watch(&store, &path, until.as_deref()));
            return match (watching.await, until) {
                (Ok(result), _) => result.map(|()| ExitCode::SUCCESS),
                (Err(_), None) => Ok(ExitCode::SUCCESS),
                (Err(_), Some(value)) => {
                    eprintln!("dom0: {path} did not become {value} in {timeout} s");
                    Ok(ExitCode::from(2))
                }
            };
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints changes until the node has the wanted value; without one it goes on until it is dropped.
async fn watch(store: &XsTokio, path: &str, until: Option<&str>) -> io::Result<()> {
    // xenstored reports a new watch once at once, so the first round prints what is there now.
    let mut events = at(path, store.watch(path).await)?;
    while let Some(changed) = events.next().await {
        match store.read(&changed).await {
            Ok(value) => println!("{}", tree::line(&changed, &value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => println!("{changed} removed"),
            Err(error) => return at(&changed, Err(error)),
        }
        if let Some(until) = until
            && store.read(path).await.is_ok_and(|value| &*value == until)
        {
            return Ok(());
        }
    }
    Err(io::Error::other("the connection to xenstore has ended"))
}

/// Names the path in an error.
fn at<T>(path: &str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}
