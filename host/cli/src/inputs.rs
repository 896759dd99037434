//! Inputs from files: lines or whole files, one at a time, so that a million of them do not sit in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use manyhands_abi::INPUT_BYTES_MAX;

use crate::args::Inputs;
use crate::fault::{Fault, Result};

/// An iterator over the inputs that the arguments name.
///
/// # Errors
/// A file that cannot be opened. Later ones come out of the iterator.
pub fn open(inputs: &Inputs) -> Result<Box<dyn Iterator<Item = Result<Vec<u8>>>>> {
    match &inputs.inputs {
        Some(path) => Ok(Box::new(lines(path)?.map(|line| line.map(|(_, input)| input)))),
        None => {
            let files = inputs.input.clone();
            Ok(Box::new(files.into_iter().map(|path| read_whole(&path))))
        }
    }
}

/// The lines of a file, each with its number from 1; blank ones are left out.
///
/// # Errors
/// The file cannot be opened. Later ones come out of the iterator.
pub fn lines(path: &Path) -> Result<impl Iterator<Item = Result<(u64, Vec<u8>)>> + use<>> {
    Ok(Lines { reader: BufReader::new(open_file(path)?), path: path.to_owned(), number: 0 })
}

/// Hands on the lines of a log, blank ones too, without their line breaks. One of more than 4 MiB, which no log has, comes in pieces.
///
/// # Errors
/// The file cannot be read, or what `take` says.
pub fn each_line(path: &Path, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    const LINE_BYTES_MAX: u64 = 4 << 20;

    let mut lines = BufReader::new(open_file(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut next = Read::take(&mut lines, LINE_BYTES_MAX);
        next.read_until(b'\n', &mut line).map_err(|error| Fault::file("read", path, &error))?;
        if line.is_empty() {
            return Ok(());
        }
        take(line.strip_suffix(b"\n").unwrap_or(&line))?;
    }
}

/// Opens a file, or stdin for `-`.
///
/// # Errors
/// It cannot be opened.
pub fn open_file(path: &Path) -> Result<Box<dyn Read + Send>> {
    if path == Path::new("-") {
        Ok(Box::new(std::io::stdin()))
    } else {
        let file = File::open(path).map_err(|error| Fault::file("read", path, &error))?;
        Ok(Box::new(file))
    }
}

/// Reads one input that is a whole file.
///
/// # Errors
/// It cannot be read, or is longer than any coordinator takes.
pub fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let mut input = Vec::new();
    let limit = INPUT_BYTES_MAX as u64 + 1;
    open_file(path)?.take(limit).read_to_end(&mut input).map_err(|error| Fault::file("read", path, &error))?;
    if input.len() > INPUT_BYTES_MAX {
        return Err(Fault::usage(format!(
            "`{}` is longer than {INPUT_BYTES_MAX} bytes, the most one input may have",
            path.display()
        )));
    }
    Ok(input)
}

/// Each line is an input, without its line break. Blank lines are none.
struct Lines<R> {
    reader: R,
    path: PathBuf,
    number: u64,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<(u64, Vec<u8>)>;

    fn next(&mut self) -> Option<Result<(u64, Vec<u8>)>> {
        loop {
            self.number += 1;
            let mut line = Vec::new();
            // One byte more for the line break, so that a line of exactly the limit passes.
            let mut limited = Read::take(&mut self.reader, INPUT_BYTES_MAX as u64 + 1);
            match limited.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(Fault::file("read", &self.path, &error))),
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            } else if line.len() > INPUT_BYTES_MAX {
                let (path, number) = (self.path.display(), self.number);
                return Some(Err(Fault::usage(format!(
                    "`{path}`, line {number}: longer than {INPUT_BYTES_MAX} bytes"
                ))));
            }
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if !line.trim_ascii().is_empty() {
                return Some(Ok((self.number, line)));
            }
        }
    }
}

/// Writes one byte string of a sequence: a little-endian `u32` length, then the bytes.
///
/// # Errors
/// The writer's, or a frame of 4 GiB.
pub fn write_frame(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<Result<(u64, Vec<u8>)>> {
        Lines { reader: BufReader::with_capacity(7, text), path: "x.jsonl".into(), number: 0 }.collect()
    }

    #[test]
    fn a_line_is_an_input_and_a_blank_line_is_none() {
        let expected = [(1, b"{\"a\":1}".to_vec()), (3, b"  2".to_vec()), (5, b"3".to_vec())];
        let found: Vec<_> = lines(b"{\"a\":1}\n\n  2\r\n \t\n3").into_iter().map(|line| line.expect("reads")).collect();
        assert_eq!(found, expected);
        assert!(lines(b"").is_empty() && lines(b"\n\n").is_empty());
    }

    #[test]
    fn a_line_may_have_the_limit_and_not_a_byte_more() {
        let mut text = vec![b'x'; INPUT_BYTES_MAX];
        text.push(b'\n');
        assert_eq!(lines(&text)[0].as_ref().expect("reads").1.len(), INPUT_BYTES_MAX);
        text.insert(0, b'x');
        let fault = lines(&text).remove(0).expect_err("refused");
        assert!(fault.message.contains("line 1"), "{fault}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let inputs = Inputs { input: vec![], inputs: Some("no/such/file".into()) };
        let Err(fault) = open(&inputs) else { panic!("opened") };
        assert!(fault.message.contains("no/such/file"), "{fault}");
    }
}
