//! The kept renderings belong to the chart as it is now; without this, the rules would be tested on an old one.

mod support;

#[test]
fn the_kept_renderings_are_of_this_chart() {
    assert_eq!(
        support::kept_fingerprint(),
        support::fingerprint(),
        "the chart has changed since tests/rendered was kept (needs the bed's parts, `cargo xtask cluster build`)\n\
         run: UPDATE_RENDERED=1 cargo test -p klm-e2e --test rendering -- --ignored rendered"
    );
}
