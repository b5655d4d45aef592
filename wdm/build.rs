//! Tells rustc where the WDK's headers and import libraries are.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_library_build()
}
