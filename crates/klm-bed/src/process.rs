//! Running other programs to their end, with errors that say what was run and what it said last.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs the command and returns what it wrote to standard output. Its input is ours, unless it was given one.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    succeeded(&shown, &output)
}

/// Runs the command with `input` on its standard input and returns its standard output.
pub fn output_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    output_with_writer(command, |pipe| Ok(pipe.write_all(input)?))
}

/// Runs the command, lets `write` fill its standard input, and returns its standard output.
pub fn output_with_writer(
    command: &mut Command,
    write: impl FnOnce(&mut dyn Write) -> Result<()> + Send,
) -> Result<String> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    // Written from a thread: a program that answers while it reads would otherwise block us and itself.
    let pipe = child.stdin.take();
    let (output, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| pipe.map_or(Ok(()), |mut pipe| write(&mut pipe)));
        let output = child.wait_with_output();
        (output, writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let said = succeeded(&shown, &output.with_context(|| format!("cannot wait for `{shown}`"))?)?;
    // After the program's own complaint: one that ends early breaks the pipe, and knows why.
    written.with_context(|| format!("cannot feed `{shown}`"))?;
    Ok(said)
}

/// Runs the command for its effect.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(|_| ())
}

/// A word as a person types it for a shell. A library would quote `--set x=y` as well.
pub fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:@%,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A command made of words, for the common case in which all of them are known.
pub fn words<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut words = words.into_iter();
    let mut command = match words.next() {
        Some(program) => Command::new(program),
        None => Command::new(""),
    };
    command.args(words);
    command
}

/// The command as a person would type it, without quotes.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn succeeded(shown: &str, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let said = if stderr.trim().is_empty() { &stdout } else { &stderr };
    bail!("`{shown}` failed ({}): {}", output.status, tail(said, 30))
}

/// The last lines of a text: where programs put the reason.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_named_with_its_last_words() {
        let error = run(&mut words(["ls", "/no-such-folder"])).unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains("`ls /no-such-folder` failed"), "{message}");
        assert!(message.contains("No such file"), "{message}");
    }

    #[test]
    fn a_word_is_quoted_when_a_shell_would_change_it() {
        assert_eq!(quoted("/home/me/.kube/config"), "/home/me/.kube/config");
        assert_eq!(quoted("/it's mine"), r"'/it'\''s mine'");
        assert_eq!([quoted("x=a,b"), quoted("x={a,b}"), quoted("")], ["x=a,b", "'x={a,b}'", "''"]);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut words(["no-such-program-here"])).unwrap_err();
        assert!(format!("{error:#}").contains("cannot start `no-such-program-here`"));
    }

    #[test]
    fn input_larger_than_a_pipe_comes_back_whole() {
        let input = vec![b'x'; 1 << 20];
        let echoed = output_with_input(&mut words(["cat"]), &input).unwrap();
        assert_eq!(echoed.len(), input.len());
    }

    #[test]
    fn a_tail_keeps_the_last_lines_only() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
