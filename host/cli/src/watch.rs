//! Following a run: server-sent events in, a progress bar or plain lines out.

use core::time::Duration;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use manyhands_api::{RunState, RunView, Why};
use manyhands_model::RunId;
use reqwest::Method;

use crate::client::Client;
use crate::fault::{Exit, Fault, Result};
use crate::screen::{Screen, grouped, printable};
use crate::sse;

/// Silence after which a connection counts as dead. Coordinators send a comment far more often.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Failed attempts in a row after which the coordinator counts as unreachable: about a minute.
const ATTEMPTS_MAX: u32 = 8;
/// Without a terminal, one line this often is enough.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Follows the run until it ends and returns its last state.
///
/// Survives lost connections and restarts of the coordinator.
///
/// # Errors
/// The time is up, the coordinator stays away for a minute, or it refuses.
pub async fn follow(client: &Client, run: RunId, timeout: Option<Duration>, screen: Screen) -> Result<RunView> {
    let mut display = Display::new(screen);
    let following = reconnecting(client, run, &mut display);
    let ended = match timeout {
        None => following.await,
        Some(timeout) => tokio::time::timeout(timeout, following).await.unwrap_or_else(|_| {
            let message = format!("{run} has not ended within {} s; it goes on", timeout.as_secs_f64());
            Err(Fault::new(Exit::TimedOut, message).help(format!("see `manyhands why {run}`")))
        }),
    };
    display.finish();
    if let Ok(view) = &ended {
        screen.note(summary(view));
    }
    ended
}

/// Whether a run that ended has all its answers.
///
/// # Errors
/// It was cancelled, or units failed; the exit code tells failures of the job from disagreement.
pub async fn judge(client: &Client, view: &RunView) -> Result<()> {
    let id = view.id;
    if view.state == RunState::Cancelled {
        return Err(Fault::job(format!("{id} was cancelled")));
    }
    if view.units.failed == 0 {
        return Ok(());
    }
    // Only for the exit code, so an answer that does not come is no further failure.
    let why: Option<Why> = client.get(&["v1", "runs", &id.to_string(), "why"], &[]).await.ok();
    let words: Vec<&str> = why.iter().flat_map(|why| &why.reasons).map(|reason| reason.reason.as_str()).collect();
    let undecided = words.contains(&"undecided") && !words.contains(&"failed");
    let failed = grouped(view.units.failed);
    Err(if undecided {
        Fault::new(Exit::Disagree, format!("{failed} units of {id} found no agreement"))
            .help(format!("see `manyhands why {id}`; `manyhands retry {id}` tries them again"))
    } else {
        Fault::job(format!("{failed} units of {id} failed"))
            .help(format!("see `manyhands results {id} --which inputs`"))
    })
}

async fn reconnecting(client: &Client, run: RunId, display: &mut Display) -> Result<RunView> {
    let id = run.to_string();
    let mut attempts = 0;
    loop {
        match one_connection(client, &id, display, &mut attempts).await {
            Ok(Some(view)) => return Ok(view),
            Ok(None) => {}
            Err(fault) if !matches!(fault.exit, Exit::Unreachable | Exit::TimedOut) || attempts >= ATTEMPTS_MAX => {
                return Err(fault);
            }
            Err(fault) if attempts == 1 => display.remark(&format!("{}; trying again", fault.message)),
            Err(_) => {}
        }
        tokio::time::sleep(pause(attempts)).await;
        attempts += 1;
    }
}

/// Reads events until the run ends (its last state) or the connection does (none).
async fn one_connection(
    client: &Client,
    id: &str,
    display: &mut Display,
    attempts: &mut u32,
) -> Result<Option<RunView>> {
    let request = client.request(Method::GET, &["v1", "runs", id, "events"], &[]);
    let mut response = client.send(request.header("accept", "text/event-stream")).await?;
    let mut parser = sse::Parser::default();
    while let Ok(piece) = tokio::time::timeout(SILENCE_MAX, response.chunk()).await {
        let Some(piece) = piece.map_err(|error| client.broken(&error))? else { break };
        let events = parser.feed(&piece).map_err(|_| Fault::bug("the coordinator sends events without an end"))?;
        for event in events {
            *attempts = 0;
            match event.kind.as_str() {
                "progress" => {
                    if let Ok(view) = serde_json::from_str::<RunView>(&event.data) {
                        display.show(&view)?;
                    }
                }
                // The last word is asked for by itself, so it does not matter what came with the event.
                "end" => {
                    let view: RunView = client.get(&["v1", "runs", id], &[]).await?;
                    display.show(&view)?;
                    return Ok(Some(view));
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

/// Doubles from a quarter of a second to 15 s, of which up to a half is taken off at random, so that many
/// watchers do not come back to a restarted coordinator at once.
fn pause(attempts: u32) -> Duration {
    let full = Duration::from_millis(250 << attempts.min(10)).min(Duration::from_secs(15));
    let mut random = [0];
    // Without random bytes all wait the full time, which is worse and not wrong.
    let _ = getrandom::fill(&mut random);
    full - full.mul_f64(f64::from(random[0]) / 512.0)
}

/// Where progress is shown.
enum Display {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a file or a pipe.
    Lines { screen: Screen, last: Option<(Instant, u64)> },
    /// As data: each state a line of JSON.
    Json { screen: Screen, last: Option<String> },
}

impl Display {
    fn new(screen: Screen) -> Self {
        if screen.json {
            return Self::Json { screen, last: None };
        }
        if !screen.is_live() {
            return Self::Lines { screen, last: None };
        }
        let style =
            ProgressStyle::with_template("{bar:32} {human_pos} of {human_len} units  {msg}  {elapsed} (eta {eta})")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self::Bar(ProgressBar::no_length().with_style(style.progress_chars("━╸─")))
    }

    fn show(&mut self, view: &RunView) -> Result<()> {
        let units = &view.units;
        let ended = units.done + units.failed + units.cancelled;
        match self {
            Self::Bar(bar) => {
                bar.set_length(units.total);
                bar.set_position(ended);
                bar.set_message(details(view));
            }
            Self::Lines { screen, last } => {
                let is_due = last.is_none_or(|(when, shown)| shown != ended && when.elapsed() >= LINE_EVERY);
                if is_due {
                    let (ended, total) = (grouped(ended), grouped(units.total));
                    screen.note(format_args!("{}: {ended} of {total} units, {}", view.job, details(view)));
                    *last = Some((Instant::now(), units.done + units.failed + units.cancelled));
                }
            }
            Self::Json { screen, last } => {
                let text =
                    serde_json::to_string(view).map_err(|error| Fault::bug(format!("cannot write JSON: {error}")))?;
                if last.as_ref() != Some(&text) {
                    screen.line(&text)?;
                    *last = Some(text);
                }
            }
        }
        Ok(())
    }

    fn remark(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| Screen::default().note(text)),
            Self::Lines { screen, .. } | Self::Json { screen, .. } => screen.note(text),
        }
    }

    fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn details(view: &RunView) -> String {
    let mut text = format!("{} running", grouped(view.units.running));
    if view.units.failed > 0 {
        text.push_str(&format!(", {} failed", grouped(view.units.failed)));
    }
    if view.dissents > 0 {
        text.push_str(&format!(", {} wrong answers caught", grouped(view.dissents)));
    }
    text
}

/// A run in one line.
pub fn summary(view: &RunView) -> String {
    let state = match view.state {
        RunState::Active => "is active",
        RunState::Finished => "has finished",
        RunState::Cancelled => "was cancelled",
    };
    let units = &view.units;
    let dry = if view.dry_run { ", dry run" } else { "" };
    let mut text = format!(
        "{} ({}{dry}, {}) {state}: {} of {} units done",
        view.id,
        view.job,
        printable(&view.verify),
        grouped(units.done),
        grouped(units.total)
    );
    if units.failed > 0 {
        text.push_str(&format!(", {} failed", grouped(units.failed)));
    }
    if view.dissents > 0 {
        text.push_str(&format!(", {} wrong answers caught", grouped(view.dissents)));
    }
    if view.changed > 0 {
        text.push_str(&format!(", {} answers changed after somebody was caught", grouped(view.changed)));
    }
    if let Some(finished_at) = view.finished_at {
        text.push_str(&format!(", {:.1} s", finished_at.since(view.submitted_at).as_secs_f64()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_below_a_quarter_of_a_minute() {
        assert!(pause(0) <= Duration::from_millis(250) && pause(0) >= Duration::from_millis(125));
        for attempts in 0..40 {
            assert!(pause(attempts) <= Duration::from_secs(15));
        }
        assert!(pause(20) >= Duration::from_millis(7_500));
    }
}
