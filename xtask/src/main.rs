//! `cargo xtask <command>`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use guests::{boot::rig_files, cost, demo, endurance, faults, lifecycle, matrix, table};
use xtask::{
    bench, build, explore, fuzz, inf, layout, linker, lint, model, mutants,
    package::{self, Extra, Signer, Signing},
    package_dom0, pe, pictures, repro, setup, test, wine,
};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, checks, tests and demonstrates the Xenguard drivers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes ready what the cross build needs: packages, targets, headers, import libraries
    Setup,
    /// Builds the drivers and bootcfg into dist/ and the NT executive into target/nt/
    Build {
        /// Only these: idefilter, idefallback, xenpci, xenvbd, wrong, testbus, nt, bootcfg
        #[arg(short, long = "package")]
        package: Vec<String>,
    },
    /// Holds every built driver to the rules of the loader and of this project
    Check,
    /// Holds the INF files to the rules of setup and of this project
    #[command(after_help = inf::help())]
    LintInf,
    /// Boots one machine through installation, upgrade, removal and missing files
    Lifecycle {
        /// Lives to run; all if not given
        names: Vec<String>,
    },
    /// Builds the tool for dom0: `dist/xenguard-dom0`, and the .deb of it
    PackageDom0,
    /// Makes dist/xenguard-<version>.zip: drivers, catalog, bootcfg, scripts, licences, bill of materials,
    /// checksums
    #[command(
        after_help = "Without options it is signed by a generated certificate, for test machines only.\n\
        Examples:\n  cargo xtask package\n  cargo xtask package --cert chain.pem --key key.pem --timestamp http://…\n  \
        cargo xtask package --cert chain.pem --module /usr/lib/softhsm/libsofthsm2.so --key \"pkcs11:object=key\""
    )]
    Package {
        /// Sign with this certificate (PEM; its chain behind it)
        #[arg(long, value_name = "FILE", requires = "key")]
        cert: Option<PathBuf>,
        /// The certificate's private key: a PEM file, or a key's id or URI in the token of --module
        #[arg(long, value_name = "KEY", requires = "cert")]
        key: Option<String>,
        /// The PKCS#11 module of the token that holds the key
        #[arg(long, value_name = "FILE", requires = "cert")]
        module: Option<PathBuf>,
        /// A timestamp server (RFC 3161), so that signatures outlive the certificate
        #[arg(long, value_name = "URL", requires = "cert")]
        timestamp: Option<String>,
        /// Make also dist/xenguard-<version>-submission.cab and .ddf, for Microsoft's signature; the cabinet is
        /// signed if --cert is given
        #[arg(long)]
        submission: bool,
        /// Make the package of what Microsoft returned: it must be what these sources give, but for signatures
        #[arg(long, value_name = "ZIP", conflicts_with_all = ["cert", "unsigned", "submission"])]
        returned: Option<PathBuf>,
        /// Do not sign: the bytes depend on the sources alone
        #[arg(long, conflicts_with = "cert")]
        unsigned: bool,
    },
    /// Checks formatting and documentation, and runs clippy for the host, the drivers and the executive
    Lint,
    /// Builds the drivers in two folders and compares the bytes
    Repro,
    /// Boots a guest from its emulated and its PV entry, and twice sabotaged, and shows what the guard did
    Demo {
        /// Record what it prints, with its times, as an animated SVG: docs/pictures/demo.svg is made by this
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
    },
    /// Runs all tests
    Test {
        /// Run every guest on this version of Xen: 4.14, 4.17 or 4.20
        #[arg(long, value_name = "VERSION")]
        xen: Option<rig::Release>,
        /// Of the guests that take turns run those of this turn, and not those of the day's
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=guests::scenario::TURNS as u64))]
        turn: Option<u64>,
    },
    /// Boots guests of the test suite by name and shows their consoles
    Scenario {
        /// Names; an unknown one lists them all
        #[arg(required = true)]
        names: Vec<String>,
        /// Run them on this version of Xen: 4.14, 4.17 or 4.20
        #[arg(long, value_name = "VERSION", default_value_t)]
        xen: rig::Release,
        /// Restore them on this version of Xen when they have been saved
        #[arg(long, value_name = "VERSION")]
        onto: Option<rig::Release>,
    },
    /// Writes the table of guest tests into docs/testing.md
    Guests,
    /// Draws the pictures of the documents, in docs/pictures
    Pictures,
    /// Boots every configuration and fault of the guard's, and writes docs/results/guard-matrix.md
    Matrix {
        /// Only these rows; the others stay in the table as they are
        rows: Vec<String>,
        /// Only the rows that did not run as expected on the drivers as they are
        #[arg(long, conflicts_with = "rows")]
        rest: bool,
    },
    /// Lets each request of a PV boot fail once: allocations, registry reads, hypercalls, xenstore requests
    Faults {
        /// Only these: pool, registry, hypercall, store
        #[arg(short, long = "kind")]
        kind: Vec<String>,
        /// Only the kinds that did not run whole on the drivers as they are
        #[arg(long, conflicts_with = "kind")]
        rest: bool,
        /// Only every n-th; docs/results/faults.md stays as it is
        #[arg(short, long, default_value_t = 1)]
        every: u64,
        /// Only the faults that docs/results/faults.md lists as wrong; updates that page
        #[arg(long, conflicts_with_all = ["kind", "every", "rest"])]
        again: bool,
    },
    /// Boots one machine again and again, takes its power away, saves and restores a guest, and uses guests for hours while
    /// disks come and go; writes docs/results/endurance.md
    #[command(
        after_help = "Forty boots are about a quarter of an hour on two idle cores, twenty saves about ten minutes. \
                      --boots 0 --hours 24 --machines 3 takes eight hours and more; the least stretch of --hours, as of \
                      --hours 0.05, takes some minutes."
    )]
    Endurance(endurance::Options),
    /// Runs the drivers in Wine's kernel
    Wine,
    /// Measures xenvbd beside emulated IDE, Linux and dom0, and writes docs/results/performance.md, or a page of its own
    /// for guests with more than one processor
    Bench(bench::Options),
    /// Runs the fuzz targets for as long as one likes, minimises their corpora, and writes docs/results/fuzz.md
    Fuzz(fuzz::Options),
    /// Counts what the guard adds to a boot with 1 to 64 disks, and writes docs/results/guard-cost.md
    Cost,
    /// Breaks the guard on purpose, one place at a time, shows which test catches it, and writes
    /// docs/results/mutants.md
    Mutants {
        /// Only the rules of the guard, on the host
        #[arg(long)]
        rules: bool,
        /// Only those that docs/results/mutants.md has no row of
        #[arg(long)]
        missing: bool,
        /// Breakages that this seed draws among all lines of the suite, into docs/results/drawn.md
        #[arg(long, conflicts_with_all = ["rules", "missing", "parts"])]
        seed: Option<u64>,
        /// With --seed: the number of breakages that are tried, those of the seed that the page has included
        #[arg(long, requires = "seed", default_value_t = 80)]
        count: usize,
        /// Breakages at the same time, each in a copy of the sources: fewer on a machine that does other work
        #[arg(long, default_value_t = mutants::AT_ONCE)]
        at_once: usize,
        /// Only those whose description contains one of these
        parts: Vec<String>,
    },
    /// Explores the model of the boot deeper than the tests do
    Model,
    /// Makes configurations of toolstacks from a seed, and holds what the guard makes of each against an oracle
    Explore {
        /// Seed of the first; each further one has the next number
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Number of machines
        #[arg(long, default_value_t = 100_000)]
        count: u64,
        /// Boot each in the rig instead, and write docs/results/explored.md: 150 are 20 minutes' work
        #[arg(long)]
        guests: bool,
        /// Boot only those that docs/results/explored.md lists as not expected; updates that page
        #[arg(long, conflicts_with_all = ["seed", "count", "guests"])]
        again: bool,
    },
}

fn main() -> ExitCode {
    let result = if linker::is_called_as_linker() { linker::run() } else { run(Arguments::parse().command) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::ensure(),
        Command::Build { package } if package.is_empty() => build::all(),
        Command::Build { package } => build::packages(&package),
        Command::Check => pe::check(),
        Command::Package { cert, key, module, timestamp, submission, returned, unsigned } => {
            let signing = match (cert, key) {
                (Some(certificate), Some(key)) => {
                    Signing::Own(Signer { certificate, key, module, timestamp })
                }
                _ if unsigned => Signing::None,
                _ => Signing::Test,
            };
            package::run(&signing, &Extra { submission, returned })
        }
        Command::PackageDom0 => package_dom0::run(),
        Command::Lifecycle { names } => {
            setup::bootcfg_tests()?;
            lifecycle::run(&names)
        }
        Command::LintInf => inf::run(),
        Command::Lint => lint::run(),
        Command::Repro => repro::check(),
        Command::Demo { record: Some(file) } => pictures::recording::demo(&file),
        Command::Demo { record: None } => {
            setup::ensure()?;
            let layout = layout::Layout::here();
            let rig = build::all_beside(|| rig_files::ensure(&layout, rig::Release::default()))??;
            demo::run(&layout, &rig)
        }
        Command::Test { xen, turn } => test::all(xen, turn.map(|turn| turn as usize)),
        Command::Scenario { names, xen, onto } => test::guests_by_name(&names, xen, onto),
        Command::Pictures => pictures::run(),
        Command::Guests => table::write(&layout::Layout::here()),
        Command::Faults { again: true, .. } => build_for_guests().and_then(|()| faults::again()),
        Command::Faults { kind, rest, every, .. } => {
            build_for_guests().and_then(|()| faults::run(&kind, rest, every))
        }
        Command::Endurance(options) => build_for_guests().and_then(|()| endurance::run(options)),
        Command::Wine => wine::run(&layout::Layout::here()),
        Command::Matrix { rows, rest } => {
            let which = match rows.len() {
                _ if rest => matrix::Which::Rest,
                0 => matrix::Which::All,
                _ => matrix::Which::Named(rows),
            };
            build_for_guests().and_then(|()| matrix::run(&which))
        }
        Command::Bench(options) => bench::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Cost => build_for_guests().and_then(|()| cost::run()),
        Command::Mutants { seed: Some(seed), count, at_once, .. } => mutants::run_drawn(seed, count, at_once),
        Command::Mutants { rules, missing, at_once, parts, .. } => {
            mutants::run(&mutants::Choice { rules, missing, at_once, parts })
        }
        Command::Model => model::run(),
        Command::Explore { again: true, .. } => build_for_guests().and_then(|()| guests::explore::again()),
        Command::Explore { seed, count, guests: true, .. } => {
            build_for_guests().and_then(|()| guests::explore::run(seed, count))
        }
        Command::Explore { seed, count, .. } => explore::run(seed, count),
    }
}

/// Builds what guests are booted with.
fn build_for_guests() -> Result<()> {
    setup::ensure()?;
    build::drivers()?;
    build::executive()
}
