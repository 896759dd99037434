// What jobs leave with a browser, over any store. Comes after store.js, held.js and records.js, in Node and in browsers; throws at
// the first promise that is not kept.

async function heldStory(store) {
  const equal = (is, should, what) => {
    if (JSON.stringify(is) !== JSON.stringify(should)) throw new Error(`${what}: ${JSON.stringify(is)}, not ${JSON.stringify(should)}`);
  };
  const refusal = (change) => change.then(() => "taken", (error) => error.message);
  const held = new Leaving(store);
  await held.clear();
  const mebi = (count) => new Uint8Array(count * 2 ** 20);

  await held.put("a-job", "x/y", Uint8Array.of(1, 2, 3));
  await held.put("b-job", "x/y", Uint8Array.of(4));
  equal([...(await held.get("a-job", "x/y"))], [1, 2, 3], "what a job left it finds again");
  equal([...(await held.get("b-job", "x/y"))], [4], "and not what another left");
  equal(await held.get("c-job", "x/y"), undefined, "nor what nobody left");
  equal((await held.list()).map(({ job, name }) => `${job} ${name}`), ["a-job x/y", "b-job x/y"], "the view has both");

  const mine = Uint8Array.of(7);
  await held.put("a-job", "copy", mine);
  mine[0] = 8;
  equal([...(await held.get("a-job", "copy"))], [7], "it is a copy");

  equal(await refusal(held.put("a-job", "", mine)), "a name has 1 to 200 characters", "no name");
  equal(await refusal(held.put("a-job", "n".repeat(201), mine)), "a name has 1 to 200 characters", "a long name");

  equal(await refusal(held.put("a-job", "all", mebi(4))), "a-job may leave 4 MiB here", "more than a job may");
  await held.put("a-job", "most", mebi(3));
  equal(await refusal(held.put("a-job", "more", mebi(1))), "a-job may leave 4 MiB here", "more than is left of it");
  await held.put("a-job", "most", mebi(3));
  equal(await held.get("a-job", "more"), undefined, "what was refused is not there");

  for (const job of ["d-job", "e-job", "f-job", "g-job"]) await held.put(job, "most", mebi(3));
  equal(await refusal(held.put("h-job", "most", mebi(3))), "all jobs together may leave 16 MiB here", "more than all may");
  equal((await held.list()).length, 8, "nothing made room for it");

  await held.delete("d-job", "most");
  const both = [held.put("i-job", "one", mebi(0.75)), held.put("j-job", "two", mebi(0.75))];
  equal(await Promise.all(both.map(refusal)), ["taken", "taken"], "there is room for both");
  const race = await Promise.all(["k", "l"].map((name) => refusal(held.put(`${name}-job`, "race", mebi(2)))));
  equal(race, ["taken", "all jobs together may leave 16 MiB here"], "two cannot take the same room");

  let refused = 0;
  for (let at = 0; at < 20; at += 1) refused += (await refusal(held.put("k-job", `n${at}`.padEnd(200, "-"), mebi(0.1)))) !== "taken";
  equal(refused > 0, true, "small ones count as well");

  await held.clear();
  equal(await held.list(), [], "and all of it can be deleted");
}
