//! The image that every step runs in: klm-step, helm and kubectl, for each architecture that it is published for.
//!
//! There is one recipe. The Dockerfile calls it for the programs and puts them on its base image; here the same
//! programs are put on a base of our own, so that what the tests run is what gets published.

mod arch;
mod kept;
mod limits;
mod programs;
mod start;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use arch::Arch;
pub use programs::{PROGRAMS, build, missing};
pub use start::start;

use crate::image::{Image, Layer, Platform};

/// The user and group of the published base image: numbers, so that Kubernetes can see that it isn't root.
pub const USER: &str = "65532:65532";

/// The folder of the image's programs.
pub const BIN: &str = "/usr/local/bin";

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
";
const GROUP: &str = "root:x:0:
nobody:x:65534:
nonroot:x:65532:
";

/// The certificates as Debian packs them; `/etc/ssl/certs` may hold some that only this machine trusts.
const CERTIFICATES: &str = "/usr/share/ca-certificates/mozilla";

/// The image for one architecture; `at` says where each of the [`PROGRAMS`] lies.
pub fn image(arch: Arch, at: impl Fn(&str) -> Result<PathBuf>) -> Result<Image> {
    let mut files = Layer::new();
    for program in PROGRAMS {
        files = files.file(&format!("{BIN}/{program}"), at(program)?, 0o755);
    }
    Ok(Image::new(Platform::linux(arch.as_str()))
        .layer(base()?)
        .layer(files)
        .user(USER)
        .env("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
        .entrypoint([format!("{BIN}/klm-step").as_str()])
        .label("org.opencontainers.image.title", "lifecycle-manager-utils")
        .label("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY"))
        .label("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")))
}

/// What distroless' static base holds, except for the time zones, which nothing here reads.
fn base() -> Result<Layer> {
    Ok(Layer::new()
        .bytes("/etc/passwd", PASSWD, 0o644)
        .bytes("/etc/group", GROUP, 0o644)
        .bytes("/etc/ssl/certs/ca-certificates.crt", certificates(Path::new(CERTIFICATES))?, 0o644)
        .folder("/home/nonroot", 0o700)
        .owned_by("/home/nonroot", 65532)
        .folder("/tmp", 0o1777))
}

fn certificates(folder: &Path) -> Result<Vec<u8>> {
    let hint = "hint: apt-get install ca-certificates";
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot read the certificates in {}\n{hint}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    if files.is_empty() {
        bail!("no certificate is in {}\n{hint}", folder.display());
    }
    files.sort();
    let mut bundle = Vec::new();
    for file in files {
        bundle.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_joined_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.crt"), "two\n").unwrap();
        fs::write(folder.path().join("a.crt"), "one").unwrap();
        assert_eq!(certificates(folder.path()).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_machine_without_certificates_is_told_how_to_get_them() {
        let empty = tempfile::tempdir().unwrap();
        let error = format!("{:#}", certificates(empty.path()).unwrap_err());
        assert!(error.contains("apt-get install ca-certificates"), "{error}");
    }

    /// The published image is made by the Dockerfile, which can't be built here: what both say must be the same.
    #[test]
    fn the_dockerfile_makes_the_same_image() {
        let file = fs::read_to_string(crate::paths::workspace().join("images/utils/Dockerfile")).unwrap();
        let last = |word: &str| file.lines().rev().find_map(|line| line.strip_prefix(word)).unwrap().trim().to_owned();
        assert_eq!(last("USER"), USER);
        assert_eq!(last("ENTRYPOINT"), format!("[\"{BIN}/klm-step\"]"));
        assert_eq!(last("COPY"), format!("--from=build /out/ {BIN}/"));
        for arch in Arch::ALL {
            assert!(file.contains(arch.target()), "{} is not in the Dockerfile", arch.target());
        }
    }
}
