"""What is measured, one question in each module: `async def run(bench) -> Section`."""
