//! The helm of the tests that start klm-step as a process.

fn main() -> std::process::ExitCode {
    klm_testkit::helm::main()
}
