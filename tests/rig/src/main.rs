//! Command line of the rig.
fn main() {
    let start = std::time::Instant::now();
    let say = |line: &str| println!("{:6.1} {line}", start.elapsed().as_secs_f32());
    let target = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    match rig::setup::ensure(&target, std::path::Path::new("/bin/true"), &say) {
        Ok(files) => println!("{files:?}"),
        Err(error) => println!("{error}"),
    }
}
