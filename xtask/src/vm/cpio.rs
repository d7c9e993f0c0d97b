//! An initramfs: a cpio archive of the "newc" kind, as `Documentation/driver-api/early-userspace/buffer-format.rst` of
//! the kernel lays it out.

use std::collections::BTreeSet;
use std::io::{Result, Write};
use std::path::Path;

/// Fields of the header that are always the same: one link, no time, no device.
const LINKS: u32 = 1;
const DIRECTORY: u32 = 0o040_755;
const SYMLINK: u32 = 0o120_777;
const FILE: u32 = 0o100_755;
/// Name of the entry that ends an archive.
const END: &str = "TRAILER!!!";

/// Writes an archive, entry by entry. Parent directories are made as they are needed; everything belongs to root and
/// may be executed.
pub struct Archive<W: Write> {
    out: W,
    /// Number of the next entry; two entries with the same would be hard links to one file.
    inode: u32,
    /// Paths that stand already.
    known: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// An empty archive.
    pub const fn new(out: W) -> Self {
        Self { out, inode: 1, known: BTreeSet::new() }
    }

    /// Adds a file at an absolute path, unless something stands there already.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.entry(path, FILE, bytes)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.entry(path, SYMLINK, target.as_bytes())
    }

    /// Adds an empty directory.
    pub fn directory(&mut self, path: &str) -> Result<()> {
        self.entry(path, DIRECTORY, &[])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<W> {
        self.write(END, 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let name = path.trim_start_matches('/').to_owned();
        if name.is_empty() || !self.known.insert(name.clone()) {
            return Ok(());
        }
        if let Some(parent) = Path::new(&name).parent() {
            self.directory(&parent.to_string_lossy())?;
        }
        self.write(&name, mode, bytes)
    }

    fn write(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let size = u32::try_from(bytes.len()).map_err(|_| std::io::Error::other(format!("{name} is beyond 4 GiB")))?;
        let name_size = name.len() as u32 + 1;
        let fields = [self.inode, mode, 0, 0, LINKS, 0, size, 0, 0, 0, 0, name_size, 0];
        self.inode += 1;
        let mut header = "070701".to_owned();
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        header.push_str(name);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(bytes)
    }

    /// Bytes, then zeros up to a multiple of four.
    fn padded(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 3][..bytes.len().wrapping_neg() % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_stand_aligned_after_their_directories_and_only_once() {
        let bytes = sample().expect("a vector takes every byte");
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        // The header has 110 bytes; the name follows.
        assert!(text.starts_with("070701") && text[110..].starts_with("bin\0"), "{text}");
        let names = ["\0bin/tool\0", "\0sbin\0", "\0TRAILER!!!\0"].map(|name| text.find(&name[1..]));
        assert!(names.iter().all(Option::is_some) && names.is_sorted(), "{names:?}");
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("seven b\0") && !text.contains("second"));
    }

    fn sample() -> std::io::Result<Vec<u8>> {
        let mut archive = Archive::new(Vec::new());
        archive.file("/bin/tool", b"seven b")?;
        archive.symlink("/sbin", "bin")?;
        archive.file("/bin/tool", b"the second is ignored")?;
        archive.finish()
    }
}
