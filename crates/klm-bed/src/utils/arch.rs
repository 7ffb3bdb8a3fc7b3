//! The architectures that the image is published for, under each name that some tool has for them.

use std::str::FromStr;

use anyhow::{Context, bail};

/// An architecture of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
    /// IBM Z; the only one with the large end first.
    S390x,
    /// IBM Power, with the small end first.
    Ppc64le,
}

impl Arch {
    /// All of them, in the order of the published index.
    pub const ALL: [Self; 4] = [Self::Amd64, Self::Arm64, Self::S390x, Self::Ppc64le];

    /// What Go and the OCI specification call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::S390x => "s390x",
            Self::Ppc64le => "ppc64le",
        }
    }

    /// Rust's target: glibc everywhere, because musl has no finished target for s390x.
    pub const fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
            Self::S390x => "s390x-unknown-linux-gnu",
            Self::Ppc64le => "powerpc64le-unknown-linux-gnu",
        }
    }

    /// What a Rust program says of itself, in which both byte orders of Power have one name.
    pub const fn rust_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
            Self::S390x => "s390x",
            Self::Ppc64le => "powerpc64",
        }
    }

    /// The C compiler, which links too: plain `cc` for this machine's own architecture.
    pub fn compiler(self) -> &'static str {
        if Self::host().is_ok_and(|host| host == self) {
            return "cc";
        }
        match self {
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
            Self::S390x => "s390x-linux-gnu-gcc",
            Self::Ppc64le => "powerpc64le-linux-gnu-gcc",
        }
    }

    /// Debian's packages with that compiler and its C library.
    pub const fn packages(self) -> [&'static str; 2] {
        match self {
            Self::Amd64 => ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
            Self::Arm64 => ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            Self::S390x => ["gcc-s390x-linux-gnu", "libc6-dev-s390x-cross"],
            Self::Ppc64le => ["gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"],
        }
    }

    /// The emulator that runs its programs on another machine.
    pub const fn emulator(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-x86_64-static",
            Self::Arm64 => "qemu-aarch64-static",
            Self::S390x => "qemu-s390x-static",
            Self::Ppc64le => "qemu-ppc64le-static",
        }
    }

    /// The architecture of this machine.
    pub fn host() -> anyhow::Result<Self> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.target().split('-').next() == Some(rust_arch()))
            .with_context(|| format!("the image isn't published for {}", rust_arch()))
    }
}

// The constant says `powerpc64` for both byte orders.
const fn rust_arch() -> &'static str {
    if cfg!(all(target_arch = "powerpc64", target_endian = "little")) { "powerpc64le" } else { std::env::consts::ARCH }
}

impl FromStr for Arch {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|arch| arch.as_str() == text) {
            Some(arch) => Ok(arch),
            None => bail!("must be one of {}", Self::ALL.map(Self::as_str).join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for arch in Arch::ALL {
            assert_eq!(arch.as_str().parse::<Arch>().unwrap(), arch);
        }
        let error = "x86_64".parse::<Arch>().unwrap_err().to_string();
        assert_eq!(error, "must be one of amd64, arm64, s390x, ppc64le");
    }

    #[test]
    fn this_machine_compiles_for_itself_with_its_own_compiler() {
        let host = Arch::host().unwrap();
        assert_eq!(host.compiler(), "cc");
        for other in Arch::ALL.into_iter().filter(|arch| *arch != host) {
            assert!(other.compiler().ends_with("-linux-gnu-gcc"));
        }
    }
}
