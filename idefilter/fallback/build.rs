//! Link arguments, exports and version resource of the driver.

fn main() -> Result<(), driver_build::Error> {
    wdk_build::configure_wdk_binary_build()?;
    driver_build::configure()
}
