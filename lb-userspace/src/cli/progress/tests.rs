//! What is drawn, and when, on a terminal of the test.

use std::io;
use std::sync::Mutex;

use indicatif::TermLike;

use super::*;

/// What the terminal of a test was sent; tests of it run one after another.
static SENT: Mutex<String> = Mutex::new(String::new());
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[derive(Debug)]
struct Screen;

impl Screen {
    fn send(text: &str) -> io::Result<()> {
        SENT.lock().unwrap().push_str(text);
        Ok(())
    }

    fn taken() -> String {
        std::mem::take(&mut SENT.lock().unwrap())
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        80
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Self::send("<up>")
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Self::send("<down>")
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        Self::send(text)
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        Self::send(text)
    }
    fn clear_line(&self) -> io::Result<()> {
        Self::send("<cleared>")
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn on_screen() -> Progress {
    Progress::on(|| ProgressDrawTarget::term_like(Box::new(Screen)))
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_a_second_says_what_it_waits_for_and_leaves_nothing_behind() {
    let _alone = ALONE.lock().await;
    let progress = on_screen();
    let answer = progress
        .during(async {
            progress.say(|| "generation 3 of 7".to_owned());
            tokio::time::sleep(Duration::from_millis(1500)).await;
            progress.aside(|| SENT.lock().unwrap().push_str("[a line]"));
            7
        })
        .await;
    let sent = Screen::taken();
    assert_eq!(answer, 7);
    let (drawn, after) = sent.split_once("[a line]").unwrap_or_else(|| panic!("{sent:?}"));
    assert!(drawn.contains("generation 3 of 7"), "{sent:?}");
    assert!(drawn.rfind("<cleared>") > drawn.rfind("generation"), "the line makes way for others: {sent:?}");
    assert!(after.rfind("<cleared>") > after.rfind("generation"), "it is gone at the end: {sent:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_over_within_a_second_or_seen_by_nobody_draws_nothing() {
    let _alone = ALONE.lock().await;
    on_screen().during(tokio::time::sleep(Duration::from_millis(900))).await;
    Progress::default().during(tokio::time::sleep(Duration::from_secs(5))).await;
    assert_eq!(Screen::taken(), "");
}
