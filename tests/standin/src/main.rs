//! See `Cargo.toml` for what this program is.

fn main() {}
