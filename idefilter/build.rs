//! Link arguments, exports and version resource of the driver.

fn main() -> Result<(), driver_build::Error> {
    driver_build::configure()
}
