//! The machine that the benchmark ran on, without its name.

use std::fs;

use serde_json::{Value, json};

/// Facts about this machine and what the rig runs.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Name of the processor's model.
    pub processor: String,
    /// Processors.
    pub processors: usize,
    /// The one-minute load average before the first run, which is others' work.
    pub load: String,
    /// The commit that was measured.
    pub commit: String,
    /// Version of Xen.
    pub xen: String,
    /// Linux's release in the guest.
    pub linux: String,
}

impl Host {
    /// Looks.
    pub(super) fn look(commit: String) -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            processor: model(&processor),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load: load.split(' ').next().unwrap_or("unknown").to_owned(),
            commit,
            xen: "4.17".to_owned(),
            linux: "not run".to_owned(),
        }
    }

    /// Describes it in a phrase.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} × {} (load {} before the first run), at commit {}",
            self.processors, self.processor, self.load, self.commit
        )
    }

    /// Returns it for the JSON file.
    pub(super) fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "processors": self.processors,
            "load_before": self.load,
            "commit": self.commit,
            "xen": self.xen,
            "linux": self.linux,
        })
    }
}

/// Returns the model's name in /proc/cpuinfo.
fn model(text: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    line.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n"), "A CPU @ 2 GHz");
        assert_eq!(model(""), "unknown processor");
    }
}
