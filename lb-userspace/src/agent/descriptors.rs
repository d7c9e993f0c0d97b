//! The limit of open file descriptors: every probe, connection and map takes one.

use nix::libc::rlim_t;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one; a limit that cannot be read or raised is logged, and the agent goes on: probes
/// without a descriptor are counted as not made, and no verdict comes from them. `wanted` is how many the
/// configuration can need at once.
pub(super) fn raise_limit(wanted: u64) {
    match raised() {
        Ok((before, now)) if now < wanted => log::warn!(
            "at most {now} files can be open at once, {wanted} may be needed (health.max_concurrent_probes): raise the \
             hard limit, for example with LimitNOFILE= of the systemd unit (it was {before} at start)"
        ),
        Ok((before, now)) if before != now => log::info!("raised the limit of open files from {before} to {now}"),
        Ok((_, now)) => log::info!("at most {now} files can be open at once"),
        Err(errno) => log::warn!("the limit of open files stays as it is: {}", errno.desc()),
    }
}

/// The soft limit as it was, and as it is now.
fn raised() -> nix::Result<(rlim_t, rlim_t)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok((soft, hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, hard / 2, hard).unwrap();
        assert_eq!(raised(), Ok((hard / 2, hard)));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((hard, hard)));
        assert_eq!(raised(), Ok((hard, hard)), "a second time changes nothing");
        raise_limit(u64::MAX);
    }
}
