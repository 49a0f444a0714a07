//! What the person at the terminal sees: a spinner per step with the time
//! that it takes, or plain lines where there is no terminal.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    fancy: bool,
    /// Serial consoles are shown while they run.
    pub(crate) verbose: bool,
}

/// A step under way.
#[derive(Debug)]
pub(crate) struct Step {
    bar: Option<ProgressBar>,
    title: String,
    start: Instant,
}

impl Ui {
    /// Spinners if standard error is a terminal and nothing else is shown.
    pub(crate) fn new(verbose: bool) -> Self {
        let fancy = !verbose && std::io::stderr().is_terminal();
        Self { fancy, verbose }
    }

    /// Starts a step.
    pub(crate) fn start(&self, title: impl Into<String>) -> Step {
        let title = title.into();
        let bar = self.fancy.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.set_message(title.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("  ..  {title}");
        }
        Step {
            bar,
            title,
            start: Instant::now(),
        }
    }

    /// Runs `work` as one step; what it returns as text stands behind the
    /// title when it is done.
    ///
    /// # Errors
    ///
    /// What `work` returns.
    pub(crate) fn step<T>(
        &self,
        title: impl Into<String>,
        work: impl FnOnce(&Step) -> Result<T>,
    ) -> Result<T> {
        let step = self.start(title);
        match work(&step) {
            Ok(value) => {
                step.done("");
                Ok(value)
            }
            Err(why) => {
                step.failed();
                Err(why)
            }
        }
    }
}

impl Step {
    /// Says what the step does now.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}: {text}", self.title)),
            None => eprintln!("      {}: {text}", self.title),
        }
    }

    /// Seconds so far.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Ends well; `note` may tell more.
    pub(crate) fn done(self, note: &str) {
        self.end("ok", note);
    }

    /// Ends badly.
    pub(crate) fn failed(self) {
        self.end("FAILED", "");
    }

    /// Ends with another word for its outcome.
    pub(crate) fn end(self, word: &str, note: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let gap = if note.is_empty() { "" } else { ": " };
        eprintln!(
            "{word:>6}  {}{gap}{note} ({:.1} s)",
            self.title,
            self.seconds()
        );
    }
}
