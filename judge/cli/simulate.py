"""The command `judge simulate`."""

from typing import Annotated

from typer import Option, Typer

from equiloss.cli import repeatable

commands = Typer()


@commands.command()
def simulate(
    *,
    port: Annotated[int, Option(min=0, max=65_535, help="A port on 127.0.0.1; 0 takes a free one.")] = 0,
    latency: Annotated[float, Option(help="Seconds until an answer.")] = 0.0,
    latency_sigma: Annotated[float, Option(help="Its log-normal spread.")] = 0.0,
    faults: Annotated[list[str], repeatable("--fault", "KIND=RATE", "A fault and its share of requests.")],
    retry_after: Annotated[float, Option(help="What a 429 asks for, in seconds.")] = 1.0,
    rpm: Annotated[int | None, Option(help="Requests per minute, enforced and announced.")] = None,
    tpm: Annotated[int | None, Option(help="Tokens per minute, enforced and announced.")] = None,
    server: Annotated[str, Option(help="The server whose peculiarities to imitate.")] = "openai",
    position_bias: Annotated[float, Option(help="Share of the scale from last to first place.")] = 0.0,
    length_bias: Annotated[float, Option(help="Share of the scale per doubling of the length.")] = 0.0,
    noise: Annotated[float, Option(help="Standard deviation, as a share of the scale.")] = 0.0,
    drift: Annotated[float, Option(help="Share of the scale per 1,000 calls.")] = 0.0,
    offset: Annotated[float, Option(help="Leniency, as a share of the scale.")] = 0.0,
    susceptible: Annotated[float, Option(help="Share of injections that it falls for.")] = 0.0,
    models: Annotated[list[str], repeatable("--model", "NAME:KEY=X,...", "A model of its own personality.")],
    fallback: Annotated[str, Option(help="The reply to any other request.")] = "I can only grade answers.",
    batch_seconds: Annotated[float, Option(help="How long a batch takes.")] = 0.0,
    seed: Annotated[int, Option(help="Seed of noise and faults.")] = 0,
    requests: Annotated[int | None, Option(help="Stop after so many answers.")] = None,
    seconds: Annotated[float | None, Option(help="Stop after so long.")] = None,
) -> None:
    """Serve a simulated judge on 127.0.0.1: OpenAI-compatible, deterministic, with the biases and faults you set.

    It scores by agreement with the reference answer in the prompt. Prints its base URL on stdout once it listens.
    Faults: 429, 500, 503, reset, slow, html, hang; refusal, malformed, truncated; batch-error, batch-expired.
    Servers: openai, reasoning, llama-cpp, llama-cpp-python, ollama, vllm, plain, strict-plain.

    \b
      judge simulate --port 8123 --latency 0.2 --fault 429=0.05 --position-bias 0.1 --seconds 600
    """
    from judge.simulate.replies import Model, Personality, Simulation, parse_model
    from judge.simulate.server import Service, parse_faults, serve

    biases = {"position_bias": position_bias, "length_bias": length_bias, "noise": noise, "drift": drift}
    personality = Personality(**biases, offset=offset, susceptible=susceptible)
    content, faults_by_kind = parse_faults(faults)
    default = Model(personality, **content)
    simulation = Simulation(seed, default, dict(parse_model(text, default) for text in models), fallback)
    service = Service(
        simulation,
        latency_s=latency,
        latency_sigma=latency_sigma,
        faults=faults_by_kind,
        retry_after_s=retry_after,
        server=server,
        rpm=rpm,
        tpm=tpm,
        batch_s=batch_seconds,
        stop_after=requests,
    )
    serve(service, port, seconds)
