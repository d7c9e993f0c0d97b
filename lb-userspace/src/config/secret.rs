//! Secrets on disk: token secrets, and the fleet's hash key.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::rule::parse_hex;

/// Key of the flow hash; the same on every edge of a fleet, or their tables would send one flow to two servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl HashKey {
    /// The key as the data plane takes it: two little-endian words.
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        let key = u128::from_le_bytes(self.0);
        [key as u64, (key >> 64) as u64]
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// Why a secret could not be read or made. Variants are facts.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The file could not be made.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("{path} can be read by everybody (mode {mode:04o}): chmod 600 {path}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not hold what it should.
    #[error("{path} does not hold {expected}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
}

/// SHA-256 of the secret in a file, blanks and line ends around it left off.
///
/// # Errors
/// [`SecretError`] when the file cannot be read, is readable by everybody, or holds nothing.
pub fn token_digest(path: &Path) -> Result<[u8; 32], SecretError> {
    let text = read(path)?;
    match text.trim() {
        "" => Err(SecretError::Content { path: path.to_owned(), expected: "a token's secret" }),
        secret => Ok(Sha256::digest(secret.as_bytes()).into()),
    }
}

/// The password in a file, blanks and line ends around it left off.
///
/// # Errors
/// [`SecretError`] when the file cannot be read, is readable by everybody, or holds nothing.
pub fn password(path: &Path) -> Result<String, SecretError> {
    let text = read(path)?;
    match text.trim() {
        "" => Err(SecretError::Content { path: path.to_owned(), expected: "a password" }),
        password => Ok(password.to_owned()),
    }
}

/// The hash key in a file: 32 hexadecimal digits.
///
/// # Errors
/// [`SecretError`] when the file cannot be read, is readable by everybody, or holds something else.
pub fn hash_key(path: &Path) -> Result<HashKey, SecretError> {
    let text = read(path)?;
    parse_hex(text.trim())
        .map(HashKey)
        .ok_or(SecretError::Content { path: path.to_owned(), expected: "a hash key: 32 hexadecimal digits" })
}

/// The hash key in a file; when there is no such file, one is drawn and written, readable by its owner only.
///
/// # Errors
/// As [`hash_key`], and when the file cannot be written.
pub fn hash_key_or_new(path: &Path) -> Result<HashKey, SecretError> {
    key_or_new(path, "hash key").map(HashKey)
}

/// A key of `N` bytes in a file, in hexadecimal; when there is no such file, one is drawn and written, readable by its
/// owner only.
///
/// # Errors
/// [`SecretError`] when the file cannot be read or written, is readable by everybody, or holds something else.
pub fn key_or_new<const N: usize>(path: &Path, what: &'static str) -> Result<[u8; N], SecretError> {
    let write_error = |source| SecretError::Write { path: path.to_owned(), source };
    match std::fs::exists(path) {
        Ok(true) => {
            let expected = "a key of the expected number of hexadecimal digits";
            return parse_hex(read(path)?.trim()).ok_or(SecretError::Content { path: path.to_owned(), expected });
        }
        Ok(false) => {}
        Err(source) => return Err(SecretError::Read { path: path.to_owned(), source }),
    }
    let mut key = [0; N];
    rand::fill(&mut key);
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory).map_err(write_error)?;
    // Written beside and linked into place: a crash leaves either no key or a whole one, and never replaces one.
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(write_error)?;
    let written = file
        .write_all(format!("{}\n", to_hex(&key)).as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&draft, path))
        .and_then(|()| std::fs::File::open(directory)?.sync_all());
    std::fs::remove_file(&draft).map_err(write_error)?;
    written.map_err(write_error)?;
    log::info!("drew a new {what} into {}; a fleet needs the same on every edge", path.display());
    Ok(key)
}

/// Bytes in hexadecimal.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn read(path: &Path) -> Result<String, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.mode() & 0o7777;
    if mode & 0o004 != 0 {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_hash_key_is_drawn_once_and_then_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/hash_key");
        let first = hash_key_or_new(&path).unwrap();
        assert_eq!(hash_key_or_new(&path).unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_damaged_or_open_key_is_refused_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hash_key");
        std::fs::write(&path, "abc").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(hash_key_or_new(&path), Err(SecretError::Content { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(hash_key_or_new(&path), Err(SecretError::Open { mode: 0o644, .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
    }

    #[test]
    fn a_tokens_digest_leaves_line_ends_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "abc\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            to_hex(&token_digest(&path).unwrap()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn the_hash_key_keeps_its_byte_order_on_every_machine() {
        let key = HashKey([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(key.words(), [1, 2]);
    }
}
