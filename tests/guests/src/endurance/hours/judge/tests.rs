use super::{super::plan, *};

/// A step of dom0's, its exit status and its output.
type Done = (Step, i32, String);

/// A life of five cycles, of which the third one's disk is taken by force.
struct Told {
    life: Life,
    console: String,
    done: Vec<Done>,
    end: End,
    after: String,
    images: [Image; 3],
}

impl Told {
    fn new() -> Self {
        let mut told = Self {
            life: plan::life(11, 0),
            console: "@xg dbg xenguard: idefilter: mode=pv reason=0x1 the boot entry selects PV\n\
                      @xg event driver=idefilter code=0x60000001 unique=0x0 strings=\n"
                .to_owned(),
            done: Vec::new(),
            end: End::PoweredOff,
            after: "@free 1000 domains 1 grants 0\n".to_owned(),
            images: [image(2, 0x100), image(3, 0x104), image(4, 0x105)],
        };
        told.arrives(0);
        for cycle in 1..=5 {
            if cycle == 5 {
                told.goes(4, false);
                told.rests(1);
            }
            told.does(Step::Attach(cycle));
            told.arrives(cycle);
            if hours::exchanges(cycle) {
                told.exchanges(cycle);
            }
            if (2..5).contains(&cycle) {
                told.goes(cycle - 1, cycle == 4);
            }
        }
        told.goes(5, false);
        told.rests(2);
        told.does(Step::Shutdown);
        told.console += "@xg ready for=request\n@xg asked by=control\n@xg end verdict=clean\n";
        told
    }

    fn does(&mut self, step: Step) {
        self.done.push((step, 0, String::new()));
    }

    fn of(&mut self, step: Step) -> &mut Done {
        self.done.iter_mut().find(|(other, ..)| *other == step).expect("a step")
    }

    fn arrives(&mut self, disk: u32) {
        self.console += &format!("@xg disk n={disk} bus=scsi driver=xenvbd\n");
        let image = number_of_image(disk);
        self.console += &format!("@xg mount disk={disk} label=DATA{image} generation=2 status=ok\n");
    }

    fn used(&mut self, disk: u32, taken: bool) {
        let (signature, failed) = (SIGNATURE + number_of_image(disk), if taken { 4 } else { 0 });
        self.console += &format!(
            "@xg used disk={disk} signature={signature:#x} taken={} reads=90 writes=80 flushes=20 files=12 failed={failed} \
             differing=0 hash={:#x}\n",
            u8::from(taken),
            0x100 + disk
        );
    }

    fn goes(&mut self, disk: u32, taken: bool) {
        self.does(if taken { Step::Force(disk) } else { Step::Detach(disk) });
        self.used(disk, taken);
        if !taken {
            self.console += "@xg ejected status=0x0\n";
        }
        let clean = u8::from(!taken);
        self.console +=
            &format!("@xg dismount disk={disk} clean={clean} lost=0\n@xg gone disk={disk} left=0\n");
    }

    fn exchanges(&mut self, cycle: u32) {
        self.does(Step::Eject(cycle));
        self.does(Step::Insert(cycle));
        self.console += &format!(
            "@xg cd what=exchanged cycle={cycle} sense=0x0 event=3 status=1 event=3 status=0 event=2 status=2 \
             sense=0x62800 blocks={CDROM_SECTORS} hash={:016x}\n",
            Checksum::of(&cdrom())
        );
    }

    fn rests(&mut self, number: u32) {
        self.used(0, false);
        self.console += &format!("@xg quiet number={number} blocks=40 bytes=90000 granted=37\n");
        self.done.push((Step::Look(number), 0, "@free 900 domains 2 grants 8\n@nodes 310\n".to_owned()));
    }

    fn judged(&self) -> Hours {
        let steps = self.life.steps();
        let mark = |(step, status, output): &Done| MarkResult {
            mark: steps.iter().position(|other| other == step).expect("a step of the life"),
            status: Some(*status),
            output: output.clone(),
        };
        let outcome = Outcome {
            end: self.end,
            domain: 1,
            console: self.console.lines().map(str::to_owned).collect(),
            com1: String::new(),
            xen_log: String::new(),
            dom0_log: String::new(),
            device_model: String::new(),
            before: String::new(),
            created: String::new(),
            after: self.after.clone(),
            batch: String::new(),
            store_running: None,
            store_end: None,
            marks: self.done.iter().map(mark).collect(),
            guest_time: Duration::from_secs(1800),
            total_time: Duration::from_secs(1900),
            retried_after: None,
        };
        Hours::of(&self.life, &outcome, &self.images)
    }
}

/// Returns the number of the image that a disk is over.
fn number_of_image(disk: u32) -> u32 {
    if disk == 0 { 0 } else { 1 + disk % 2 }
}

fn image(generation: u64, checksum: u64) -> Image {
    let volume = volume::Report {
        verdict: Verdict::Intact,
        signature: 0,
        label: String::new(),
        generation,
        files: Vec::new(),
        damage: Vec::new(),
    };
    Image { volume, checksum }
}

#[test]
fn a_life_in_which_all_is_as_it_must_be_is_right() {
    let mut told = Told::new();
    told.of(Step::Detach(2)).2 = "xl gave up\nagain\n".to_owned();
    let hours = told.judged();
    assert_eq!(hours.wrong, [""; 0]);
    assert_eq!((hours.came(), hours.detached, hours.taken, hours.again, hours.exchanged), (5, 4, 1, 1, 1));
    assert_eq!((hours.reads, hours.writes, hours.failed, hours.differing), (7 * 90, 7 * 80, 4, 0));
    assert_eq!((hours.growth, hours.lives, hours.lost), (Growth::default(), 1, 0));
    let mut both = Hours { lost: 1, ..hours.clone() };
    both.add(&hours);
    assert_eq!((both.lives, both.lost, both.came(), both.guest_hours()), (2, 1, 10, 1.0));
}

#[test]
fn wrong_words_of_the_guest_are_noticed() {
    /// A line in place of which others stand.
    const ANY: &str = "@xg ready for=request";
    for (from, to, what) in [
        (ANY, "@xg differs sector=70 found=0x1 whole=1 written=0x2 failed=0x0", "wrong data: sector=70"),
        ("differing=0 hash=0x102", "differing=1 hash=0x102", "disk 2: 1 reads brought wrong data"),
        (
            "failed=0 differing=0 hash=0x105",
            "failed=1 differing=0 hash=0x105",
            "disk 5: 1 requests have failed",
        ),
        ("failed=4", "failed=0", "disk 3: no request has failed"),
        (
            "files=12 failed=0 differing=0 hash=0x101",
            "files=0 failed=0 differing=0 hash=0x101",
            "disk 1: it was not used",
        ),
        ("@xg used disk=1 ", "@xg traffic disk=1 ", "disk 1 was used 0 times"),
        ("hash=0x105", "hash=0x106", "image 2 has other data"),
        ("hash=0x100", "hash=0x101", "image 0 has other data"),
        ("@xg disk n=2 bus=scsi", "@xg disk n=2 bus=ide", "IDE, PV and other disks"),
        (
            "disk=2 label=DATA1 generation=2 status=ok",
            "disk=2 label=? generation=0 status=corrupt",
            "status=corrupt",
        ),
        ("@xg mount disk=4", "@xg traffic disk=4", "5 mounts of 5 disks"),
        ("@xg ejected status=0x0\n@xg dismount disk=2", "@xg dismount disk=2", "PnP ejects 3 disks of 4"),
        ("disk=2 clean=1 lost=0", "disk=2 clean=0 lost=1", "dismounted in order, and not: (3, 1)"),
        ("gone disk=1 left=0", "gone disk=1 left=1", "something is left of a disk"),
        ("@xg gone disk=1 left=0", "", "4 disks are gone of 5"),
        ("blocks=64 hash=", "blocks=64 failed-at=", "CD-ROM: "),
        ("@xg cd what=exchanged", "@xg cd what=loaded", "0 exchanges of the medium"),
        ("number=2 blocks=40", "number=2 blocks=60", "blocks: 20"),
        ("number=2 blocks=40 bytes=90000", "number=2 blocks=40 bytes=190000", "bytes: 100000"),
        (
            "number=2 blocks=40 bytes=90000 granted=37",
            "number=2 blocks=40 bytes=90000 granted=38",
            "granted: 1",
        ),
        ("@xg quiet number=1", "@xg traffic number=1", "not known what was in use"),
        ("mode=pv reason=0x1 ", "mode=emulated reason=0x11 ", "decision Some(Vetoed)"),
        (ANY, "@xg violation name=pool-leaked", "pool-leaked"),
        (ANY, "@xg bugcheck code=0x7b p1=0 p2=0 p3=0 p4=0", "bugcheck Some"),
        ("verdict=clean", "verdict=stopped", "end (Some(\"stopped\")"),
        ("@xg asked by=control", "", "dom0 asked"),
        (ANY, "@xg event driver=xenvbd code=0xa0000060 unique=0x0 strings=", "event log: driver=xenvbd"),
        (ANY, "@xg reset reach=unit done=1", "out of time"),
        (
            ANY,
            "@xg dbg xenguard: xenpci: 1 grant references are given back that nobody has",
            "that nobody has",
        ),
    ] {
        let mut told = Told::new();
        assert!(told.console.contains(from), "{from} is not in:\n{}", told.console);
        told.console = told.console.replace(from, to);
        let wrong = told.judged().wrong;
        assert!(
            wrong.iter().any(|line| line.starts_with("seed 11: ") && line.contains(what)),
            "{what}: {wrong:?}"
        );
    }
}

#[test]
fn wrong_words_of_dom0_and_wrong_images_are_noticed() {
    fn look(told: &mut Told, text: &str) {
        told.of(Step::Look(2)).2 = text.to_owned();
    }
    type Spoil = fn(&mut Told);
    let cases: [(&str, Spoil); 14] = [
        ("dom0: Attach(2): ", |told| told.of(Step::Attach(2)).1 = 1),
        ("dom0: Detach(1): vbd-1-51728", |told| {
            (told.of(Step::Detach(1)).1, told.of(Step::Detach(1)).2) = (1, "vbd-1-51728".to_owned());
        }),
        ("5 disks came and 4 went", |told| told.done.retain(|(step, ..)| *step != Step::Detach(1))),
        ("4 disks came and 5 went", |told| told.done.retain(|(step, ..)| *step != Step::Attach(5))),
        (" used: 1", |told| look(told, "@free 900 domains 2 grants 9\n@nodes 310\n")),
        ("mib: 30", |told| look(told, "@free 870 domains 2 grants 8\n@nodes 310\n")),
        ("nodes: 4", |told| look(told, "@free 900 domains 2 grants 8\n@nodes 314\n")),
        ("domains: (2, 3)", |told| look(told, "@free 900 domains 3 grants 8\n@nodes 310\n")),
        ("not known what was in use", |told| look(told, "")),
        ("is left of the guest", |told| told.after = "@free 1000 domains 1 grants 1\n".to_owned()),
        ("is left of the guest", |told| told.after = "@free 900 domains 2 grants 0\n".to_owned()),
        ("TimedOut", |told| told.end = End::TimedOut),
        ("image 1 is destroyed", |told| told.images[1].volume.verdict = Verdict::Destroyed),
        ("image 2 has generation 5", |told| told.images[2].volume.generation = 5),
    ];
    for (what, spoil) in cases {
        let mut told = Told::new();
        spoil(&mut told);
        let wrong = told.judged().wrong;
        assert!(wrong.iter().any(|line| line.contains(what)), "{what}: {wrong:?}");
    }
}
