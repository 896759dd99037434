//! A function that is called by name, and from outside or through a table as well, becomes two: one that has its type and
//! only calls the other, and one that has its code. So calls by name can pass more than the type has; see [`crate::meter`].

use manyhands_verifier::module::Module;
use manyhands_verifier::token::{Kind, Tokens};
use wasm_encoder::{Encode as _, Function, Instruction as I};

use crate::refusal::Refusal;
use crate::survey::Survey;
use crate::write::{Additions, Splice};

/// The module, and for each function that was added the one whose code it has.
pub(crate) fn pass(bytes: Vec<u8>, survey: &mut Survey) -> Result<(Vec<u8>, Vec<u32>), Refusal> {
    let module = Module::read(&bytes).map_err(Refusal::malformed)?;
    let Some(split) = find(&module, survey) else { return Ok((bytes, Vec::new())) };
    let mut additions = Additions::default();
    let mut moved = Vec::new();
    for (at, body) in module.bodies.iter().enumerate() {
        let mut splice = Splice::locals(&bytes, body, &[])?;
        let found = &mut survey.functions[at];
        let calls = found.calls_any(&split);
        let tokens = if calls { Tokens::read(body).map_err(Refusal::malformed)? } else { Tokens::default() };
        found.call_instead(&split);
        for (index, token) in tokens.all.iter().enumerate() {
            let (Kind::Call(function), Some(next)) = (token.kind, tokens.all.get(index + 1)) else { continue };
            if let Some(Some(to)) = split.get(function as usize) {
                splice.copy_to(token.offset as usize);
                splice.put(&[I::Call(*to)]);
                splice.skip_to(next.offset as usize);
            }
        }
        let function = module.imported() + at as u32;
        match split.get(function as usize) {
            Some(Some(to)) => {
                moved.push((function, splice));
                let mut calls = Function::new([]);
                for param in 0..module.type_of(function).map_or(0, |ty| ty.params().len() as u32) {
                    calls.instruction(&I::LocalGet(param));
                }
                calls.instruction(&I::Call(*to)).instruction(&I::End);
                additions.code.add(|out| calls.encode(out));
            }
            _ => splice.finish(&mut additions.code),
        }
    }
    let originals = moved.iter().map(|(function, _)| *function).collect();
    for (function, splice) in moved {
        let index = module.imported() + survey.functions.len() as u32;
        survey.move_to((function - module.imported()) as usize, index);
        additions.functions.add(|out| module.functions[function as usize].encode(out));
        splice.finish(&mut additions.code);
    }
    Ok((additions.write(&bytes, &module.sections)?, originals))
}

/// For each function, the one that gets its code; `None` if no function is called in both ways.
fn find(module: &Module<'_>, survey: &Survey) -> Option<Vec<Option<u32>>> {
    let called = survey.called(module.functions.len());
    let mut next = module.functions.len() as u32;
    let mut split = Vec::with_capacity(called.len());
    for (function, (called, known)) in called.into_iter().zip(module.is_entry()).enumerate() {
        let both = called && known && function >= module.imports.len();
        split.push(both.then_some(next));
        next += u32::from(both);
    }
    (next > module.functions.len() as u32).then_some(split)
}
