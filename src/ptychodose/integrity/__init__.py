"""Do all copies of the study hold what it recorded, and is it the committed result?"""
