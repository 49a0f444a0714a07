//! What the person at the terminal sees: a spinner per step with the time
//! that it takes, or plain lines where there is no terminal.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How steps are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// A spinner, then a line.
    Spinner,
    /// A line at the begin, one at the end.
    Lines,
    /// Not at all.
    Nothing,
}

/// The terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    style: Style,
    /// Serial consoles are shown while they run.
    pub(crate) verbose: bool,
}

/// A step under way.
#[derive(Debug)]
pub(crate) struct Step {
    style: Style,
    bar: Option<ProgressBar>,
    title: String,
    start: Instant,
}

impl Ui {
    /// Spinners if standard error is a terminal and nothing else is shown.
    pub(crate) fn new(verbose: bool) -> Self {
        let fancy = !verbose && std::io::stderr().is_terminal();
        let style = if fancy { Style::Spinner } else { Style::Lines };
        Self { style, verbose }
    }

    /// The same without a word about steps.
    pub(crate) fn silent(self) -> Self {
        Self {
            style: Style::Nothing,
            ..self
        }
    }

    /// Starts a step.
    pub(crate) fn start(&self, title: impl Into<String>) -> Step {
        let title = title.into();
        let bar = (self.style == Style::Spinner).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.set_message(title.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if self.style == Style::Lines {
            eprintln!("  ..  {title}");
        }
        Step {
            style: self.style,
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
            None if self.style == Style::Lines => eprintln!("      {}: {text}", self.title),
            None => {}
        }
    }

    /// Ends well; `note` may tell more.
    pub(crate) fn done(self, note: &str) {
        self.end("ok", note);
    }

    /// Ends badly.
    pub(crate) fn failed(self) {
        self.end("FAILED", "");
    }

    fn end(self, word: &str, note: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.style == Style::Nothing {
            return;
        }
        let gap = if note.is_empty() { "" } else { ": " };
        let seconds = self.start.elapsed().as_secs_f64();
        eprintln!("{word:>6}  {}{gap}{note} ({seconds:.1} s)", self.title);
    }
}
