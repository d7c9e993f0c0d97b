//! Watches the ledger's file, and makes backups of it on schedule. A ledger whose file was destroyed while it is open
//! is saved once more through the open connection.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::config;
use crate::ledger::backup::{self, BackupError, Backups};
use crate::ledger::{Ledger as _, SqliteLedger};
use crate::model::Generation;
use crate::observe::chain;
use crate::reconcile::Status;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// Runs for ever.
pub(super) async fn keep(
    backups: Backups,
    settings: config::Backup,
    ledger: Arc<SqliteLedger>,
    status: watch::Receiver<Arc<Status>>,
) -> &'static str {
    let mut keeper = Keeper { backups, settings, ledger, newest: None, is_destroyed: false };
    let mut was_restored = backup::was_restored(&keeper.ledger.path());
    loop {
        let applied = status.borrow().applied_generation;
        let ended = tokio::task::spawn_blocking(move || {
            keeper.look();
            if was_restored && applied >= keeper.ledger.snapshot().generation().0 {
                was_restored = false;
                match backup::forget_restored(&keeper.ledger.path()) {
                    Ok(()) => log::info!("the restored ledger is applied"),
                    Err(error) => log::error!("the note that the ledger was restored cannot be removed: {error}"),
                }
            }
            (keeper, was_restored)
        });
        match ended.await {
            Ok(back) => (keeper, was_restored) = back,
            Err(error) => {
                log::error!("the keeper of backups broke off: {error}");
                return "keeper of backups";
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

struct Keeper {
    backups: Backups,
    settings: config::Backup,
    ledger: Arc<SqliteLedger>,
    /// Time and generation of the newest backup, once the directory was read.
    newest: Option<(Timestamp, Generation)>,
    is_destroyed: bool,
}

impl Keeper {
    fn look(&mut self) {
        if let Err(error) = self.ledger.check() {
            if !self.is_destroyed {
                self.is_destroyed = true;
                log::error!("{}", chain(&error));
                self.make("the ledger was saved once more through the open file");
            }
            return;
        }
        self.is_destroyed = false;
        if self.newest.is_none() {
            match self.backups.list() {
                Ok(all) => {
                    let never = (Timestamp::MIN, Generation(0));
                    self.newest = Some(all.first().map_or(never, |newest| (newest.created_at, newest.generation)));
                }
                Err(error) => return log::error!("the backups cannot be listed: {}", chain(&error)),
            }
        }
        let (at, generation) = self.newest.unwrap_or((Timestamp::MIN, Generation(0)));
        let now = Timestamp::now();
        let is_due = now.duration_since(at).unsigned_abs() >= self.settings.interval;
        if is_due && self.ledger.snapshot().generation() != generation {
            self.make("the ledger was backed up");
        }
    }

    fn make(&mut self, what: &str) {
        let now = Timestamp::now();
        let keep = usize::try_from(self.settings.keep).unwrap_or(usize::MAX);
        let made = self.backups.create_from(&self.ledger, now).and_then(|made| {
            let verified = self.backups.verify(&made.name, now)?;
            for old in self.backups.prune(keep)? {
                log::info!("backup {old} was removed: {keep} are kept");
            }
            Ok::<_, BackupError>(verified)
        });
        match made {
            Ok(made) => {
                log::info!("{what}: {}, verified", made.name);
                self.newest = Some((now, made.generation));
            }
            Err(error) => {
                log::error!("no backup could be made: {}; it is tried again in an interval", chain(&error));
                self.newest = Some((now, Generation(0)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Change, Proposal};
    use crate::model::{Actor, Document, Name, Organization, OrganizationId, Scope, Times};

    fn change(ledger: &SqliteLedger) {
        let id = OrganizationId::new();
        let name = Name::try_from("acme".to_owned()).unwrap();
        let made = Organization { id, name, times: Times::created(Timestamp::now()) };
        let changes = vec![Change { before: None, after: Document::Organization(made) }];
        let proposal = Proposal {
            expected: ledger.snapshot().generation(),
            actor: Actor::agent("test"),
            scope: Scope::Organization { organization: id },
            verb: "organization.create".to_owned(),
            reason: String::new(),
            at: Timestamp::now(),
            attempt: None,
            plan: None,
            changes,
        };
        ledger.append(proposal).unwrap();
    }

    #[test]
    fn a_backup_is_made_and_verified_when_one_is_due_and_something_changed_and_only_the_newest_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let backups = || Backups::new(directory.path().join("backups"));
        let ledger = Arc::new(SqliteLedger::open(&directory.path().join("ledger.db")).unwrap());
        let settings = |interval| config::Backup { interval, keep: 2, ..config::Config::default().backup };
        let keeper = |interval| Keeper {
            backups: backups(),
            settings: settings(interval),
            ledger: Arc::clone(&ledger),
            newest: None,
            is_destroyed: false,
        };
        change(&ledger);
        let mut hourly = keeper(Duration::from_secs(3600));
        hourly.look();
        change(&ledger);
        hourly.look();
        assert_eq!(backups().list().unwrap().len(), 1, "the next one is due in an hour");
        let mut always = keeper(Duration::ZERO);
        always.look();
        assert_eq!(backups().list().unwrap().len(), 2);
        always.look();
        assert_eq!(backups().list().unwrap().len(), 2, "nothing changed");
        for _ in 0..3 {
            change(&ledger);
            always.look();
        }
        let kept = backups().list().unwrap();
        let generations: Vec<u64> = kept.iter().map(|backup| backup.generation.0).collect();
        assert_eq!(generations, [5, 4], "the newest two");
        assert!(kept.iter().all(|backup| backup.verified_at.is_some()));
    }
}
