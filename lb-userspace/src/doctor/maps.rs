//! How full the maps are, before something does not fit any more.

use std::path::Path;

use super::Finding;
use crate::dataplane::KernelConfig;
use crate::dataplane::fill::{self, Fill};

/// Every map that fills up, with how full it is.
#[must_use]
pub fn maps(pin_dir: &Path) -> Vec<Finding> {
    let directory = KernelConfig::versioned(pin_dir);
    match fill::of(&directory) {
        Ok(fills) => fills.iter().map(of_map).collect(),
        Err(error) => {
            let what = format!("{} cannot be read: {}", directory.display(), crate::observe::chain(&error));
            vec![Finding::failure("maps", what, "run as root")]
        }
    }
}

fn of_map(fill: &Fill) -> Finding {
    let Fill { map, used, size, setting, forgets } = *fill;
    let share = f64::from(used) / f64::from(size.max(1));
    let line = format!("{map}: {used} of {size} ({:.1} %)", share * 100.0);
    let larger = if setting.is_empty() {
        "no setting makes it larger; use fewer".to_owned()
    } else {
        format!(
            "raise `dataplane.{setting}` in agent.toml; it counts once the agent is stopped, `snowshed detach` run and the \
             agent started"
        )
    };
    match share {
        0.0..0.8 => Finding::ok("maps", line),
        _ if forgets => {
            let line = format!("{line}: what was not used for longest gives way to what is new");
            Finding::warning("maps", line, larger)
        }
        0.8..1.0 => Finding::warning("maps", line, larger),
        _ => Finding::failure("maps", line, larger),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn maps_that_fill_up_are_told_before_they_are_full_with_the_setting_that_sizes_them() {
        let of = |used, forgets, setting| of_map(&Fill { map: "SERVICES_V4", used, size: 1000, setting, forgets });
        let levels = |forgets| [0, 799, 800, 999, 1000].map(|used| of(used, forgets, "max_services").level);
        assert_eq!(levels(false), [Level::Ok, Level::Ok, Level::Warning, Level::Warning, Level::Failure]);
        assert_eq!(levels(true), [Level::Ok, Level::Ok, Level::Warning, Level::Warning, Level::Warning]);
        assert_eq!(of(125, false, "max_services").what, "SERVICES_V4: 125 of 1000 (12.5 %)");
        assert!(of(900, false, "max_services").remedy.contains("`dataplane.max_services`"));
        assert!(of(900, false, "").remedy.contains("no setting"));
    }

    #[test]
    fn where_nothing_is_pinned_there_is_nothing_to_say() {
        assert_eq!(maps(Path::new("/nonexistent")), []);
    }
}
