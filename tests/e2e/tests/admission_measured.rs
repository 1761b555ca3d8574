//! The machine is measured, and a recording that runs loses nothing to what is begun beside it.

use haven_e2e::{Asked, Publishing, Recorded, Result, Stage, is_long_form, may_be_missing};
use haven_rig::picture::Run;
use haven_rig::{ClipSpec, Codec, within};
use serde_json::json;
use std::time::Duration;

/// How long the machine may take to be measured, which is many seconds of processor time.
const LIMIT: Duration = Duration::from_secs(180);

fn clip() -> ClipSpec {
    match is_long_form() {
        true => ClipSpec::default(),
        false => ClipSpec::small(Codec::H264, 40),
    }
}

/// A figure of `/metrics`, once it is there.
async fn figure(stage: &Stage, name: &str) -> Result<f64> {
    let found = within(name, LIMIT, async {
        loop {
            let text = stage.haven.text("/metrics").await?;
            let mut lines = text.lines();
            let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            if let Some(number) = found {
                return Ok::<f64, Box<dyn std::error::Error + Send + Sync>>(number.parse()?);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    found.await?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_runs_is_not_starved_by_the_next_one() -> Result {
    let percent = ("HAVEN_CPU_BUDGET_PERCENT".to_owned(), "1".to_owned());
    let stage = Stage::set_with(Publishing::Clip(clip()), vec![percent]).await?;
    let budget = figure(&stage, "haven_cpu_budget_cores").await?;
    // While nothing is recorded, nothing suffers.
    stage.haven.start_session(&stage.mint).await?;
    let asked = Asked::start(&stage.haven, &stage.mint, "h264").await?;
    let mut refusals = 0;
    for _ in 0..5 {
        for format in ["av1", "vp9", "source"] {
            let request = json!({"mint_id": stage.mint, "output_format": format});
            let answer = stage.haven.post("/api/recording/start", &request).await?;
            assert_eq!(answer.status, 503, "{}", answer.body);
            assert_eq!(answer.body["code"], "over_budget");
            let cpu = &answer.body["cpu_cores"];
            assert!(cpu["needed"].as_f64() > Some(0.0), "{}", answer.body);
            assert!(cpu["used"].as_f64() > Some(budget), "{}", answer.body);
            refusals += 1;
            if refusals == 1 {
                println!("{}", answer.body);
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!(
        "taken: {:.2} cores",
        figure(&stage, "haven_cpu_taken_cores").await?
    );
    let (answer, _) = asked.stop(&stage.haven).await?;
    let recorded = Recorded::play(&answer).await?;
    let [part] = &recorded.parts[..] else {
        return Err(format!("several files: {answer}").into());
    };
    let numbers = part.marks.iter().filter_map(|mark| mark.reading.counter);
    let run = Run::of(&numbers.collect::<Vec<_>>(), clip().frames());
    println!("{run:?}, {} refusals beside it", refusals);
    assert!(run.missing <= may_be_missing(run.seen), "{run:?}");
    Ok(())
}
