//! When a volunteer wants to lend a hand.

/// Under which circumstances a volunteer wants to lend a hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Also on battery.
    pub on_battery: bool,
    /// Also on a connection that is paid for by what it carries.
    pub on_metered: bool,
    /// Also while nobody can see that it works.
    pub while_hidden: bool,
    /// Only between these minutes of the day, 0 to 1439, the first included; over midnight where the second is
    /// the smaller.
    pub hours: Option<(u16, u16)>,
}

/// What the shell senses. What it cannot sense is `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Senses {
    /// The computer runs on battery.
    pub on_battery: bool,
    /// The connection is paid for by what it carries.
    pub on_metered: bool,
    /// Nobody can see that it works.
    pub is_hidden: bool,
    /// The minute of the day, local time, 0 to 1439.
    pub minute: u16,
}

/// Which wish is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// See [`Wishes::hours`].
    #[error("it is not the time of day that was wished for")]
    Hours,
    /// See [`Wishes::on_battery`].
    #[error("this computer runs on battery")]
    Battery,
    /// See [`Wishes::on_metered`].
    #[error("the connection is metered")]
    Metered,
    /// See [`Wishes::while_hidden`].
    #[error("the page is hidden")]
    Hidden,
}

impl Wishes {
    /// The first wish that is in the way.
    pub fn against(&self, senses: &Senses) -> Option<Reason> {
        let is_time = self.hours.is_none_or(|(from, to)| {
            let minute = senses.minute;
            if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to }
        });
        [
            (!is_time, Reason::Hours),
            (senses.on_battery && !self.on_battery, Reason::Battery),
            (senses.on_metered && !self.on_metered, Reason::Metered),
            (senses.is_hidden && !self.while_hidden, Reason::Hidden),
        ]
        .into_iter()
        .find_map(|(applies, reason)| applies.then_some(reason))
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    const ANYTIME: Wishes = Wishes { on_battery: true, on_metered: true, while_hidden: true, hours: None };

    #[test]
    fn who_wishes_nothing_works_always_and_who_wishes_much_says_why_not() {
        let all = Senses { on_battery: true, on_metered: true, is_hidden: true, minute: 0 };
        assert_eq!(ANYTIME.against(&all), None);
        assert_eq!(Wishes::default().against(&all), Some(Reason::Battery));
        assert_eq!(Wishes::default().against(&Senses::default()), None);
        assert_eq!(Wishes { while_hidden: false, ..ANYTIME }.against(&all), Some(Reason::Hidden));
    }

    #[test]
    fn hours_may_go_over_midnight() {
        let at = |hours, minute| {
            Wishes { hours: Some(hours), ..ANYTIME }.against(&Senses { minute, ..Senses::default() }).is_none()
        };
        let (evening, morning) = (22 * 60, 7 * 60);
        assert!(at((evening, morning), 0) && at((evening, morning), evening) && !at((evening, morning), morning));
        assert!(at((morning, evening), morning) && !at((morning, evening), evening) && !at((morning, evening), 0));
    }
}
