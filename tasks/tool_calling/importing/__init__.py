"""Other people's tools, from wherever they are described, as JSON Schemas that stand for themselves.

=============== ================================================================
`source.py`     which importer a source is for, and all of them behind one call
`openapi.py`    OpenAPI 3.x documents
`functions.py`  JSON files in OpenAI's function format (and its neighbours)
`python.py`     Python files and modules, by their syntax tree
`mcp.py`        MCP servers
`services.py`   botocore's and Google's API descriptions, in their packages or in files
`documents.py`  reading files that may be anything
`schemas.py`    references resolved, dialects levelled
`pruning.py`    schemas cut down to a budget of tokens
=============== ================================================================
"""
