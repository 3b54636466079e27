"""The paper, reproduced and answered: one module a table or figure."""
