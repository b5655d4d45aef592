//! Vbds for a survey.

use xen::fake::Tree;

/// Adds a vbd to xenstore whose backend waits for rings, with these nodes of the backend's beside the usual ones.
pub(crate) fn add_vbd(tree: &mut Tree, number: u32, kind: &str, nodes: &[(&str, &str)]) {
    let front = format!("device/vbd/{number}");
    let back = format!("/local/domain/0/backend/vbd/7/{number}");
    for (node, value) in [
        ("state", "1"),
        ("virtual-device", &number.to_string()),
        ("backend", &back),
        ("backend-id", "0"),
        ("device-type", kind),
    ] {
        tree.set(&format!("{front}/{node}"), value);
    }
    for (node, value) in [("state", "2"), ("online", "1"), ("mode", "w")].iter().chain(nodes) {
        tree.set(&format!("{back}/{node}"), value);
    }
}
