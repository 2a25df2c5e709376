"""Does an exported model say what the trained one says?"""
