//! The committed chart, tables and documents are what the generator writes.

use klm_chartgen::sync;

#[test]
fn generated_files_are_as_generated() {
    let report = sync::check(&sync::root()).unwrap();
    assert!(report.is_empty(), "{report}");
}
