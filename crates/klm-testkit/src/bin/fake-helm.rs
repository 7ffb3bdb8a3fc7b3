//! A helm for tests that run real processes; see `klm_testkit::helm`.

fn main() -> std::process::ExitCode {
    klm_testkit::helm::main()
}
