//! The page of who may join: invitations, without their secrets, and block lists of others.

use askama::Template;
use axum::extract::State;
use manyhands_api::{BlocklistView, InvitationView};
use manyhands_model::Timestamp;
use serde::Deserialize;

use super::charts::{count, moment, span};
use super::pages::{Frame, Page, SignedIn};
use crate::app::App;
use crate::problem::Query;
use crate::settings::Join;

/// Invitations on a page.
const INVITATIONS: usize = 100;

struct InvitationLine {
    id: String,
    owner: String,
    /// How many came with it, of how many that may.
    used: String,
    created: String,
    term: String,
    class: &'static str,
}

impl InvitationLine {
    fn new(view: InvitationView, now: Timestamp) -> Self {
        let InvitationView { id, owner, uses, used, created_at, expires_at, revoked_at } = view;
        let (term, class) = match (revoked_at, expires_at) {
            (Some(at), _) => (format!("revoked {} ago", span(now.since(at))), "warn"),
            (None, Some(at)) if at <= now => (format!("expired {} ago", span(now.since(at))), "quiet"),
            (None, _) if used >= uses => ("used up".to_owned(), "quiet"),
            (None, Some(at)) => (format!("for {} more", span(at.since(now))), "good"),
            (None, None) => ("until it is revoked".to_owned(), "good"),
        };
        Self {
            id,
            owner: owner.unwrap_or_else(|| "–".to_owned()),
            used: format!("{} of {}", count(used.into()), count(uses.into())),
            created: moment(created_at),
            term,
            class,
        }
    }
}

struct BlocklistLine {
    name: String,
    root: String,
    serial: u64,
    made: String,
    term: String,
    class: &'static str,
    workers: String,
    proven: String,
}

impl BlocklistLine {
    fn new(view: BlocklistView, now: Timestamp) -> Self {
        let BlocklistView { root, name, serial, issued_at, expires_at, holds, workers, proven } = view;
        let (term, class) = if holds {
            (format!("for {} more", span(expires_at.since(now))), "good")
        } else {
            (format!("expired {} ago: it keeps nobody out", span(now.since(expires_at))), "warn")
        };
        Self {
            name,
            root: root.to_string(),
            serial,
            made: moment(issued_at),
            term,
            class,
            workers: count(workers),
            proven: count(proven),
        }
    }
}

#[derive(Template)]
#[template(path = "joining.html")]
struct JoiningPage {
    frame: Frame,
    /// Who may join, in a sentence.
    rule: &'static str,
    invitations: Vec<InvitationLine>,
    total: String,
    from: usize,
    next: Option<usize>,
    lists: Vec<BlocklistLine>,
}

#[derive(Deserialize)]
pub(super) struct JoiningQuery {
    #[serde(default)]
    from: usize,
}

/// Invitations, the newest first, and block lists that count here.
pub(super) async fn joining(
    State(app): State<App>,
    who: SignedIn,
    Query(JoiningQuery { from }): Query<JoiningQuery>,
) -> Page {
    let now = app.clock.now();
    let all = app.invitations.list().invitations;
    let total = all.len();
    let shown = all.into_iter().rev().skip(from).take(INVITATIONS);
    let rule = match app.settings.workers.join {
        Join::Open => "Whoever has the join link may join; workers that come with one invitation are one voice.",
        Join::Invited => "Only invited workers may join.",
    };
    let page = JoiningPage {
        frame: who.frame("joining"),
        rule,
        invitations: shown.map(|view| InvitationLine::new(view, now)).collect(),
        total: count(total as u64),
        from,
        next: (from.saturating_add(INVITATIONS) < total).then(|| from + INVITATIONS),
        lists: app.blocklists.list(now).lists.into_iter().map(|view| BlocklistLine::new(view, now)).collect(),
    };
    who.draw(&page)
}

#[cfg(test)]
mod tests {
    use manyhands_signing::Keypair;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    #[test]
    fn an_invitation_says_whether_somebody_may_still_come_with_it() {
        let line = |used, expires_at: Option<u64>, revoked_at: Option<u64>| {
            let [expires_at, revoked_at] = [expires_at, revoked_at].map(|at| at.map(Timestamp));
            let (id, owner, created_at) = ("inv_a".to_owned(), None, Timestamp(0));
            let view = InvitationView { id, owner, uses: 2, used, created_at, expires_at, revoked_at };
            InvitationLine::new(view, NOW).term
        };
        assert_eq!(line(0, None, None), "until it is revoked");
        assert_eq!(line(1, Some(NOW.0 + 10_000), None), "for 10\u{202f}s more");
        assert_eq!(line(1, Some(NOW.0), None), "expired 0\u{202f}ms ago");
        assert_eq!(line(2, Some(NOW.0 + 10_000), None), "used up");
        assert_eq!(line(2, Some(NOW.0 - 1), Some(NOW.0 - 20_000)), "revoked 20\u{202f}s ago");
    }

    #[test]
    fn attack_a_script_for_an_owner_or_a_list_is_shown_as_text() {
        let evil = r#"<script>alert("1")</script>' onload=x"#.to_owned();
        let (id, owner, created_at) = (evil.clone(), Some(evil.clone()), NOW);
        let invitation =
            InvitationView { id, owner, uses: 1, used: 0, created_at, expires_at: None, revoked_at: Some(NOW) };
        let list = BlocklistView {
            root: Keypair::from_seed(&[7; 32]).public().fingerprint(),
            name: evil,
            serial: 1,
            issued_at: NOW,
            expires_at: NOW,
            holds: false,
            workers: 1,
            proven: 1,
        };
        let page = JoiningPage {
            frame: Frame::new("joining", "ann"),
            rule: "",
            invitations: vec![InvitationLine::new(invitation, NOW)],
            total: "1".to_owned(),
            from: 0,
            next: None,
            lists: vec![BlocklistLine::new(list, NOW)],
        };
        let html = page.render().unwrap();
        assert_eq!(html.matches("&#60;script&#62;").count(), 3, "{html}");
        assert!(html.matches("<script").count() == 1 && !html.contains("' onload"), "{html}");
    }
}
