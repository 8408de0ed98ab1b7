//! Atomic writing: a file is written beside its place, brought to disk, and renamed into it; the one before is kept as
//! `NAME.previous`.
//! At every instant one of the two is whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file that was at `path` before the newest.
pub(super) fn previous(path: &Path) -> PathBuf {
    beside(path, ".previous")
}

/// Writes `bytes` to `path`.
pub(super) fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = beside(path, ".new");
    write_to_disk(&fresh, bytes).and_then(|()| put_in_place(&fresh, path)).inspect_err(|_| {
        // Half a file must not stay; that it cannot be removed either is no news.
        let _ = fs::remove_file(&fresh);
    })
}

fn write_to_disk(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames twice; between the two the file is the previous one.
fn put_in_place(fresh: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(path, previous(path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(fresh, path)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder) {
        // A folder can be brought to disk on Unix only; elsewhere a rename is as safe as it gets.
        Ok(folder) if cfg!(unix) => folder.sync_all(),
        _ => Ok(()),
    }
}

/// `NAME` + `suffix` in the same folder.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
