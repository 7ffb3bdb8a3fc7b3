//! What the published klm-step must be: static, because its image holds no loader, and small, because nodes pull it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

/// The largest that klm-step may be, in bytes.
pub const LARGEST: usize = 12_000_000;

/// Fails when the program needs a loader or shared libraries, or is larger than this. Returns its size.
pub fn check(program: &Path, largest: usize) -> Result<usize> {
    let shown = program.display();
    let data = fs::read(program).with_context(|| format!("cannot read {shown}"))?;
    if needs_a_loader(&data).with_context(|| format!("{shown} is no program for Linux"))? {
        bail!("{shown} isn't static: it names a loader, which its image doesn't hold");
    }
    if data.len() > largest {
        bail!("{shown} has {} bytes, and may have {largest}", data.len());
    }
    Ok(data.len())
}

fn needs_a_loader(data: &[u8]) -> Result<bool> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    // s390x is the other way round.
    let endian = header.endian()?;
    Ok(header.program_headers(endian, data)?.iter().any(|segment| segment.p_type(endian) == PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_refused() {
        let test = std::env::current_exe().unwrap();
        let error = format!("{:#}", check(&test, usize::MAX).unwrap_err());
        assert!(error.contains("isn't static"), "{error}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("klm-step");
        fs::write(&text, "#!/bin/sh\n").unwrap();
        assert!(format!("{:#}", check(&text, LARGEST).unwrap_err()).contains("no program"));
    }

    #[test]
    fn a_program_without_a_loader_may_be_so_large_and_no_larger() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("klm-step");
        // A header that says 64 bits, little-endian, no segments.
        let mut header = [0_u8; 64];
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        header[20] = 1;
        fs::write(&program, header).unwrap();
        assert_eq!(check(&program, 64).unwrap(), 64);
        assert!(format!("{:#}", check(&program, 63).unwrap_err()).contains("64 bytes"));
    }
}
