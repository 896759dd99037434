//! `manyhands invite`: by what workers join.

use manyhands_api::{CreatedInvitation, IDEMPOTENCY_HEADER, InvitationList, InvitationView, NewInvitation};
use manyhands_model::Timestamp;
use reqwest::Method;

use crate::args::Invite;
use crate::client::{Client, random_key};
use crate::fault::Result;
use crate::remote::{DAY_MS, ago, now};
use crate::screen::{Screen, printable, table};

/// `manyhands invite`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn invite(client: &Client, command: &Invite, screen: Screen) -> Result<()> {
    match command {
        Invite::Create { owner, uses, days } => {
            let request = client
                .request(Method::POST, &["v1", "invitations"], &[])
                .header(IDEMPOTENCY_HEADER, random_key()?)
                .json(&NewInvitation { owner: owner.clone(), uses: *uses, days: *days });
            let created: CreatedInvitation = client.json(request).await?;
            let owner = created.owner.as_ref().map_or_else(String::new, |owner| format!(" of `{}`", printable(owner)));
            let workers = if created.uses == 1 { "a worker".to_owned() } else { format!("{} workers", created.uses) };
            screen.note(format_args!(
                "invitation {} for {workers}{owner}; it is shown this once, and goes into a file for `manyhands-runner --invitation`:",
                created.id
            ));
            screen.show(&created, |created| created.invitation.clone())
        }
        Invite::List => {
            let list: InvitationList = client.get(&["v1", "invitations"], &[]).await?;
            screen.show(&list, |list| {
                let rows: Vec<_> = list.invitations.iter().map(|invitation| row(invitation, now())).collect();
                table(["INVITATION", "OWNER", "USED", "CREATED", "HOLDS"], &rows)
            })
        }
        Invite::Revoke { id } => {
            client.send(client.request(Method::DELETE, &["v1", "invitations", id], &[])).await?;
            screen.note(format_args!("{id} is revoked"));
            Ok(())
        }
    }
}

fn row(invitation: &InvitationView, now: Timestamp) -> [String; 5] {
    let InvitationView { id, owner, uses, used, created_at, expires_at, revoked_at } = invitation;
    let holds = match (revoked_at, expires_at) {
        (Some(at), _) => format!("revoked {}", ago(*at, now)),
        (None, Some(at)) if *at <= now => "expired".to_owned(),
        (None, Some(at)) => format!("for {} d", at.0.saturating_sub(now.0).div_ceil(DAY_MS)),
        (None, None) => "for ever".to_owned(),
    };
    let owner = owner.as_ref().map_or_else(String::new, |owner| printable(owner));
    [id.clone(), owner, format!("{used} of {uses}"), ago(*created_at, now), holds]
}
