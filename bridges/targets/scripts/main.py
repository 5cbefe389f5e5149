def main():
    """Read the spikes, play them, and compare what came back: 0 if it is the same."""
    import argparse
    import json
    from pathlib import Path
    from types import SimpleNamespace

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spikes", default=Path(__file__).with_suffix(".npz"), help="npz file")
    parser.add_argument("--save", help="npz file for the recorded spikes")
    arguments = parser.parse_args()
    try:
        with np.load(arguments.spikes, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))  # dt_s in seconds, n_units, n_steps
            ticks, units, offsets = (file[name] for name in ("ticks", "units", "offsets"))
    except Exception as error:
        print(f"{arguments.spikes} cannot be read ({error}): export the spikes again.")
        return 2
    samples = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    spikes = SimpleNamespace(
        ticks=ticks,
        units=units,
        samples=samples,
        n_samples=len(offsets) - 1,
        dt_s=header["dt_s"],
        n_units=header["n_units"],
        n_steps=header["n_steps"],
    )
    columns = [np.asarray(column, dtype=np.int64) for column in play(spikes)]
    order = np.lexsort(columns[::-1])
    back = [column[order] for column in columns]
    if arguments.save:
        np.savez(arguments.save, samples=back[0], ticks=back[1], units=back[2])
    same = all(map(np.array_equal, back, (samples, ticks, units)))
    verdict = "every spike on its tick" if same else "NOT the same"
    print(f"{len(ticks)} spikes sent, {len(back[1])} recorded: {verdict}")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
